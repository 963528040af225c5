-- Slurm's CLI filter: tells at submission what jobs like this one came to. docs/slurm.md
--
-- It runs in sbatch and salloc, as the user who submits, after the job is submitted: it can neither hold up nor
-- refuse one, and slurmctld does not know of it. It prints one line on stderr or nothing, within a second.

local COMMAND = "gpuwatch estimate like --brief"  -- add --api URL where accounting's socket is not on this host
local SECONDS = "1"

local submitted = {}

local function quoted(text)
    return "'" .. string.gsub(text, "'", "'\\''") .. "'"
end

local function word(text)
    return type(text) == "string" and text ~= "" and #text <= 256 and not string.find(text, "[%c]") and text or nil
end

-- The device-hours that a comment declares, as they stand there.
local function declared(comment)
    local words = string.match(word(comment) or "", "gpuwatch:([^;]*)")
    return words and string.match(" " .. words, "%sdevice%-hours=([%w%.%+%-]+)")
end

-- What a job is called that has no name: its script without the folders.
local function script(argv)
    local first = type(argv) == "table" and (argv[0] or argv[1])
    return first and word(string.match(first, "[^/]+$"))
end

local function remember(options)
    local kind, user = options["type"], word(os.getenv("USER"))
    if (kind ~= "sbatch" and kind ~= "salloc") or (tonumber(options["quiet"]) or 0) > 0 or not user then
        return nil
    end
    local name, hours = word(options["job-name"]) or script(options["argv"]), declared(options["comment"])
    return " --user=" .. quoted(user)
        .. (name and " --name=" .. quoted((string.gsub(name, "[*?%[]", "?"))) or "")
        .. (hours and " --declared=" .. quoted(hours) or "")
end

local function tell(asked)
    local answer = io.popen("timeout -k 1 " .. SECONDS .. " " .. COMMAND .. asked .. " 2>/dev/null </dev/null")
    local line = answer and answer:read("*l")
    if answer then
        answer:close()
    end
    if line and line ~= "" then
        io.stderr:write("gpuwatch: " .. string.gsub(line, "%c", "?") .. "\n")
    end
end

function slurm_cli_setup_defaults(options, early_pass)
    return slurm.SUCCESS
end

function slurm_cli_pre_submit(options, offset)
    local kept, asked = pcall(remember, options)
    submitted[offset] = kept and asked or nil
    return slurm.SUCCESS
end

function slurm_cli_post_submit(offset, job_id, step_id)
    -- Of a heterogeneous job the first part speaks for all.
    if offset == 0 and submitted[0] then
        pcall(tell, submitted[0])
    end
    return slurm.SUCCESS
end
