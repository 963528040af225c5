-- Slurm's job_submit: asks for an estimate where a job may take more than so many device-hours. deploy/slurm/README.md
--
-- It runs in slurmctld, which does nothing else meanwhile: it reads what the job asks for, calls nothing and waits for
-- nothing. It changes no job. What it cannot work out, or fails at, it lets pass. Each user is told why.

local DEVICE_HOURS = 100  -- more than this at the job's time limit wants an estimate
local REFUSE = false      -- true: without one the job is not taken; false: its user is told, and it is

-- What stands in the grammar of declarations (docs/declaring.md), as far as it must be known here.
local UNITS = {
    ["device-hours"] = {[""] = true, h = true},
    ["energy"] = {Wh = true, kWh = true, MWh = true, GWh = true, J = true, kJ = true, MJ = true, GJ = true},
    ["carbon"] = {g = true, kg = true, t = true},
    ["wall"] = {h = true, d = true, min = true, s = true},
    ["charge"] = {[""] = true},
}
UNITS["facility-energy"] = UNITS["energy"]
local OTHERS = {campaign = true, ["for"] = true, basis = true, tag = true}

-- Devices of a request as gres:gpu:h100:2, gres/gpu=2, gpu:2(S:0), of several with commas between; slices as well.
local function devices(request)
    local sum = 0
    for each in string.gmatch(type(request) == "string" and request or "", "[^,]+") do
        local words = string.gsub(string.gsub(each, "%b()", ""), "^gres[:/]", "")
        if string.find(words, "^[gt]pu$") or string.find(words, "^[gt]pu[:=]") then
            sum = sum + (tonumber(string.match(words, "[:=](%d+)$")) or 1)
        end
    end
    return sum
end

local function number(value)
    value = tonumber(value)
    return value and value >= 1 and value < 0xfffffff0 and value or nil
end

-- How many devices all of a job has at once.
local function held(job)
    local nodes, tasks = number(job.min_nodes) or 1, number(job.num_tasks) or 1
    local sums = {
        devices(job.tres_per_job),
        nodes * devices(job.tres_per_node or job.gres),
        nodes * (number(job.sockets_per_node) or 1) * devices(job.tres_per_socket),
        tasks * devices(job.tres_per_task),
    }
    return math.max((table.unpack or unpack)(sums))
end

-- How many jobs an array has: 0-99:2%10,200.
local function elements(array)
    if type(array) ~= "string" or array == "" then
        return 1
    end
    local count = 0
    for each in string.gmatch(string.gsub(array, "%%.*$", ""), "[^,]+") do
        local first, last, step = string.match(each, "^(%d+)%-(%d+):?(%d*)$")
        count = count + (first and math.floor((last - first) / (tonumber(step) or 1)) + 1 or 1)
    end
    return count
end

-- Minutes that the job may take: its own limit, else what the partition says; nil where nobody says.
local function minutes(job, partitions)
    local named = type(job.partition) == "string" and string.match(job.partition, "[^,]+")
    for name, partition in pairs(partitions or {}) do
        if name == named or (not named and partition.flag_default == 1) then
            return number(job.time_limit) or number(partition.default_time) or number(partition.max_time)
        end
    end
    return number(job.time_limit)
end

local function amount(key, value)
    local low, likely, high = string.match(value, "^(.-)%.%.(.-)%.%.(.+)$")
    for at, each in ipairs(low and {low, likely, high} or {value}) do
        local digits, unit = string.match(each, "^(%d+%.?%d*[eE][+-]?%d+)(%a*)$")
        if not digits then
            digits, unit = string.match(each, "^(%d+%.?%d*)(%a*)$")
        end
        if not digits or tonumber(digits) <= 0 or not (UNITS[key][unit] or (low and at < 3 and unit == "")) then
            return false
        end
    end
    return true
end

-- Whether a comment declares an amount, or a campaign that has one; what is wrong in it, if anything is.
local function declared(comment)
    local found = string.match(" " .. (type(comment) == "string" and comment or ""), "[%s;,|]gpuwatch:([^;\r\n]*)")
    local something = false
    for word in string.gmatch(found or "", "%S+") do
        local key, value = string.match(word, "^([%a-]+)=(.+)$")
        if key == "cost" or key == "campaign" then
            something = true
        elseif key and UNITS[key] and amount(key, value) then
            something = true
        elseif not (key and OTHERS[key]) then
            return something, string.gsub(string.sub(word, 1, 60), "%c", "?")
        end
    end
    return something
end

local function told(job, partitions)
    local limit = minutes(job, partitions)
    local hours = limit and held(job) * elements(job.array_inx) * limit / 60 or 0
    local something, wrong = declared(job.comment)
    if wrong then
        return string.format("gpuwatch: %s in --comment is not understood: docs/declaring.md", wrong), hours
    end
    if hours <= DEVICE_HOURS or something then
        return nil, hours
    end
    return string.format("gpuwatch: this job may take %.0f device-hours and declares nothing. Say what you expect, as in"
        .. " --comment='gpuwatch: device-hours=N'; `gpuwatch estimate` helps", hours), hours
end

function slurm_job_submit(job, partitions, uid)
    local worked, words, hours = pcall(told, job, partitions)
    if not worked then
        slurm.log_info("gpuwatch: job_submit.lua: %s", tostring(words))
        return slurm.SUCCESS
    end
    if words then
        slurm.log_user("%s", words)
    end
    return words and REFUSE and hours > DEVICE_HOURS and slurm.ERROR or slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
