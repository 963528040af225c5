/* A driver library without a driver: the NVML calls that gpuwatch makes, answered from a file in shared memory.
 *
 * FAKE_NVML_STATE names the file; tests/fake_nvml/__init__.py writes it, before and while the library is used.
 * `State` and what it contains are mirrored in layout.py, and its size is checked at init. What NVML itself lays
 * down (the structures handed to its callers) is declared under "The ABI" and checked against pynvml by a test.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define DEVICES 16
#define FIELDS 48
#define PROCESSES 128
#define INSTANCES 8
#define INSTANCE_PROCESSES 16
#define ACTIVITIES 3
#define STEPS 16
#define EVENTS 256
#define CALL_SLOTS 64

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25,
    UNKNOWN = 999,
};

/* Each name has a slot in the tables of results, latencies and counts; the Python side reads this list. */
#define CALLS(X) \
    X(nvmlInitWithFlags) \
    X(nvmlSystemGetDriverVersion) \
    X(nvmlDeviceGetCount_v2) \
    X(nvmlDeviceGetHandleByIndex_v2) \
    X(nvmlDeviceGetHandleByUUID) \
    X(nvmlDeviceGetName) \
    X(nvmlDeviceGetUUID) \
    X(nvmlDeviceGetSerial) \
    X(nvmlDeviceGetPciInfo_v3) \
    X(nvmlDeviceGetCudaComputeCapability) \
    X(nvmlDeviceGetUtilizationRates) \
    X(nvmlDeviceGetEncoderUtilization) \
    X(nvmlDeviceGetDecoderUtilization) \
    X(nvmlDeviceGetMemoryInfo) \
    X(nvmlDeviceGetMemoryInfo_v2) \
    X(nvmlDeviceGetPowerUsage) \
    X(nvmlDeviceGetEnforcedPowerLimit) \
    X(nvmlDeviceGetTotalEnergyConsumption) \
    X(nvmlDeviceGetTemperature) \
    X(nvmlDeviceGetTemperatureV) \
    X(nvmlDeviceGetClockInfo) \
    X(nvmlDeviceGetFieldValues) \
    X(nvmlDeviceGetTotalEccErrors) \
    X(nvmlDeviceGetComputeRunningProcesses_v3) \
    X(nvmlDeviceGetGraphicsRunningProcesses_v3) \
    X(nvmlDeviceGetRemappedRows) \
    X(nvmlDeviceGetGpuFabricInfoV) \
    X(nvmlDeviceGetMigMode) \
    X(nvmlDeviceGetMaxMigDeviceCount) \
    X(nvmlDeviceGetMigDeviceHandleByIndex) \
    X(nvmlDeviceGetDeviceHandleFromMigDeviceHandle) \
    X(nvmlDeviceGetGpuInstanceId) \
    X(nvmlDeviceGetComputeInstanceId) \
    X(nvmlDeviceGetAttributes_v2) \
    X(nvmlGpmQueryDeviceSupport) \
    X(nvmlGpmSampleAlloc) \
    X(nvmlGpmSampleGet) \
    X(nvmlGpmMigSampleGet) \
    X(nvmlGpmMetricsGet) \
    X(nvmlDeviceRegisterEvents) \
    X(nvmlEventSetCreate) \
    X(nvmlEventSetWait_v2)

#define SLOT(name) CALL_##name,
typedef enum { CALLS(SLOT) CALL_COUNT } Call;

/* The ABI. */
typedef struct { uint32_t gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { uint32_t version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { uint32_t version, sensor; int32_t temperature; } Temperature;
typedef struct {
    char bus_id_legacy[16];
    uint32_t domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} PciInfo;
typedef struct { uint32_t pid; unsigned long long memory; uint32_t gpu_instance, compute_instance; } ProcessInfo;
typedef struct {
    void *device;
    unsigned long long type, data;
    uint32_t gpu_instance, compute_instance;
} EventData;
typedef union { double real; uint32_t word; unsigned long long longlong; uint64_t bits; } Value;
typedef struct {
    uint32_t id, scope;
    int64_t timestamp, latency_usec;
    uint32_t type, result;
    Value value;
} FieldValue;
typedef struct {
    uint32_t multiprocessors, copy_engines, decoders, encoders, jpeg, ofa, gpu_instance_slices, compute_instance_slices;
    unsigned long long memory_mb;
} Attributes;
typedef struct {
    uint32_t version;
    uint8_t cluster_uuid[16];
    uint32_t status, clique, state, health_mask;
} FabricV2;
typedef struct {
    uint32_t version;
    uint8_t cluster_uuid[16];
    uint32_t status, clique, state, health_mask;
    uint8_t health_summary;
} FabricV3;
typedef struct { uint32_t version, supported; } GpmSupport;
typedef struct { uint32_t id, result; double value; char *short_name, *long_name, *unit; } GpmMetric;
typedef struct GpmSample GpmSample;
typedef struct { uint32_t version, count; GpmSample *first, *second; GpmMetric metrics[]; } GpmMetrics;

/* The state file, 8-byte fields first so that no compiler pads it. */
typedef struct { double seconds, watts; } Step;
typedef struct {
    double base_joules;   /* the counter at `since`, CLOCK_MONOTONIC seconds */
    double since;
    double mean_seconds;  /* the window over which average power looks back */
    Step steps[STEPS];    /* power over time, repeated for ever */
    uint64_t step_count;
} Power;
typedef struct { uint64_t bits; uint32_t id, scope, type; int32_t result, computed, pad; } Field;
typedef struct { uint64_t memory; uint32_t pid, pad; } Process;
typedef struct {
    double base[ACTIVITIES];   /* seconds of activity (SM, tensor, DRAM) at `since`, CLOCK_MONOTONIC seconds */
    double since;
    double ratio[ACTIVITIES];  /* since then */
} Activity;
typedef struct {
    Activity activity;    /* of its GPU instance */
    uint64_t memory_total, memory_used, compute_count;
    Process compute[INSTANCE_PROCESSES];
    uint32_t present, incarnation;
    uint32_t gpu_instance, compute_instance, gpu_slices, compute_slices;
    char uuid[96], name[96];
} Instance;
typedef struct {
    Power power;
    Activity activity;
    uint64_t memory_total, memory_reserved, memory_used;
    uint64_t ecc[2][2];   /* [corrected, uncorrected][volatile, aggregate] */
    uint64_t hang_calls;  /* one bit per call */
    double hang_seconds;
    uint64_t slept_ns;
    uint64_t calls[CALL_SLOTS];
    Field fields[FIELDS];
    Process compute[PROCESSES], graphics[PROCESSES];
    uint64_t field_count, compute_count, graphics_count;
    int32_t results[CALL_SLOTS];
    int32_t lost;         /* what every call on the device returns, 0 when it is well */
    uint32_t incarnation; /* a handle from before it changed is worthless */
    uint32_t gpu_percent, memory_percent, encoder_percent, decoder_percent;
    uint32_t clocks_mhz[4];
    uint32_t limit_mw, pci_device_id;
    int32_t temperature, capability_major, capability_minor;
    uint32_t gpm, mig_slices, mig_mode;     /* whether it has GPM; into how many it can be cut; whether it is */
    uint32_t scopes_ignored;                /* as drivers before scopes did: every scope of a field is scope 0 */
    uint32_t remapped[4];
    uint32_t fabric_version;                /* the newest structure it knows; 0 for a device without a fabric */
    uint32_t fabric_state, fabric_status, fabric_health, fabric_summary;
    uint32_t pad;
    Instance instances[INSTANCES];
    char uuid[96], name[96], serial[32], bus_id[32];
} Device;
typedef struct { uint64_t type, data; uint32_t device, pad; } Event;
typedef struct {
    uint64_t size;        /* of this structure, as the writer sees it */
    uint64_t sequence;    /* odd while the writer changes several fields that belong together */
    uint64_t slept_ns, forbidden_calls, event_count;
    uint64_t gpm_panics;  /* one sample used from two places at once, or after it was freed: the kernel may panic */
    uint64_t gpm_samples; /* allocated and not yet freed */
    uint32_t wakes, pad;  /* a futex: who waits for events looks again when it has changed */
    uint64_t latency_ns[CALL_SLOTS];
    uint64_t calls[CALL_SLOTS];
    int32_t results[CALL_SLOTS];
    int32_t result;       /* what every call returns, 0 when the driver is well */
    uint32_t session;     /* a driver reload; who initialised before it must do so again */
    uint32_t device_count, event_wait_limit_ms;
    uint32_t order[DEVICES];
    char driver[80];
    Event events[EVENTS];
    Device devices[DEVICES];
} State;

extern State *state;

/* What every call does first: count, take its time, fail where it is told to. Returns an NVML result. */
int enter(Call call, Device *device);
int enter_device(Call call, Device *device);
int on_device(Call call, void *handle, Device **device);
int on_any(Call call, void *handle, Device **device, Instance **instance);
void *handle_of(uint32_t slot);
void *instance_handle(uint32_t slot, uint32_t index);
void add(uint64_t *counter, uint64_t amount);
void take_time(Device *device, Call call);
double seconds_now(void);
void sleep_seconds(double seconds);
int copy_text(char *target, uint32_t size, const char *text);

#define ON_DEVICE(name) \
    Device *device = NULL; \
    int entered = on_device(CALL_##name, handle, &device); \
    if (entered != SUCCESS) return entered

/* The same for calls that also take a slice of a device; `instance` is then not NULL. */
#define ON_ANY(name) \
    Device *device = NULL; \
    Instance *instance = NULL; \
    int entered = on_any(CALL_##name, handle, &device, &instance); \
    if (entered != SUCCESS) return entered
