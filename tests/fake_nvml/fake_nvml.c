/* The library as a whole: initialisation, errors told to happen, handles, events. */
#define _GNU_SOURCE
#include "fake_nvml.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    State *state;
    uint64_t next;
    uint32_t session;
    uint64_t types[DEVICES];
    void *handles[DEVICES];
} EventSet;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
State *state;
static char mapped_path[4096];
static int references;
static uint32_t session;

double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void sleep_seconds(double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0) {}
}

void add(uint64_t *counter, uint64_t amount) { __atomic_fetch_add(counter, amount, __ATOMIC_RELAXED); }

void take_time(Device *device, Call call) {
    uint64_t latency = state->latency_ns[call];
    if (latency == 0) return;
    double began = seconds_now();
    sleep_seconds((double)latency * 1e-9);
    uint64_t slept = (uint64_t)((seconds_now() - began) * 1e9);
    add(&state->slept_ns, slept);
    if (device != NULL) add(&device->slept_ns, slept);
}

static void hang(Device *device, Call call) {
    double began = seconds_now();
    while ((device->hang_calls >> call & 1) && seconds_now() - began < device->hang_seconds) sleep_seconds(0.005);
}

int enter(Call call, Device *device) {
    if (state == NULL || references == 0 || session != state->session) return UNINITIALIZED;
    add(&state->calls[call], 1);
    take_time(device, call);
    if (state->result != SUCCESS) return state->result;
    return state->results[call];
}

int enter_device(Call call, Device *device) {
    add(&device->calls[call], 1);
    hang(device, call);
    if (device->lost != SUCCESS) return device->lost;
    return device->results[call];
}

void *handle_of(uint32_t slot) {
    return (void *)(uintptr_t)(0x10000000u + (state->devices[slot].incarnation << 8) + slot);
}

/* A slice's handle: a bit that no device's has, then its incarnation, its index, and the slot of its device. */
#define INSTANCE_BIT ((uintptr_t)1 << 40)

void *instance_handle(uint32_t slot, uint32_t index) {
    uintptr_t incarnation = state->devices[slot].instances[index].incarnation & 0xffffff;
    return (void *)(INSTANCE_BIT | incarnation << 16 | (uintptr_t)index << 8 | slot);
}

static int on_instance(void *handle, uint32_t slot, Instance **instance) {
    uint32_t index = (uintptr_t)handle >> 8 & 0xff;
    Device *device = &state->devices[slot];
    if (index >= INSTANCES || !device->mig_mode || !device->instances[index].present) return INVALID_ARGUMENT;
    if (handle != instance_handle(slot, index)) return INVALID_ARGUMENT;
    *instance = &device->instances[index];
    return SUCCESS;
}

int on_any(Call call, void *handle, Device **device, Instance **instance) {
    uint32_t slot = (uint32_t)(uintptr_t)handle & 0xff;
    int known = handle != NULL && slot < DEVICES;
    int result = enter(call, known && state != NULL ? &state->devices[slot] : NULL);
    if (result != SUCCESS) return result;
    if (!known) return INVALID_ARGUMENT;
    *device = &state->devices[slot];
    result = enter_device(call, *device);
    if (result != SUCCESS) return result;
    if ((uintptr_t)handle & INSTANCE_BIT) return on_instance(handle, slot, instance);
    return handle == handle_of(slot) ? SUCCESS : GPU_IS_LOST;
}

int on_device(Call call, void *handle, Device **device) {
    Instance *instance = NULL;
    int result = on_any(call, handle, device, &instance);
    return result == SUCCESS && instance != NULL ? NOT_SUPPORTED : result;
}

int copy_text(char *target, uint32_t size, const char *text) {
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(target, text);
    return SUCCESS;
}

/* The library as a whole. */
static int map_state(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    if (path == NULL) return DRIVER_NOT_LOADED;
    if (state != NULL && strcmp(path, mapped_path) == 0) return SUCCESS;
    int file = open(path, O_RDWR | O_CLOEXEC);
    struct stat found;
    if (file < 0 || strlen(path) >= sizeof mapped_path) return DRIVER_NOT_LOADED;
    State *mapped = MAP_FAILED;
    if (fstat(file, &found) == 0 && (size_t)found.st_size >= sizeof(State))
        mapped = mmap(NULL, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED || mapped->size != sizeof(State)) {
        fprintf(stderr, "fake_nvml: %s is not a state file of this build\n", path);
        return UNKNOWN;
    }
    state = mapped; /* the old mapping stays: a thread may still be in it */
    strcpy(mapped_path, path);
    references = 0;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    int result = map_state();
    if (result == SUCCESS) {
        add(&state->calls[CALL_nvmlInitWithFlags], 1);
        take_time(NULL, CALL_nvmlInitWithFlags);
        result = state->result != SUCCESS ? state->result : state->results[CALL_nvmlInitWithFlags];
    }
    if (result == SUCCESS && references++ == 0) session = state->session;
    pthread_mutex_unlock(&lock);
    return result;
}

int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int result = references > 0 ? SUCCESS : UNINITIALIZED;
    if (references > 0) references--;
    pthread_mutex_unlock(&lock);
    return result;
}

const char *nvmlErrorString(int result) {
    static __thread char text[48];
    snprintf(text, sizeof text, "fake error %d", result);
    return text;
}

int nvmlSystemGetDriverVersion(char *text, uint32_t size) {
    int result = enter(CALL_nvmlSystemGetDriverVersion, NULL);
    return result != SUCCESS ? result : copy_text(text, size, state->driver);
}

int nvmlDeviceGetCount_v2(uint32_t *count) {
    int result = enter(CALL_nvmlDeviceGetCount_v2, NULL);
    if (result == SUCCESS) *count = state->device_count;
    return result;
}

/* Which device. */
int nvmlDeviceGetHandleByIndex_v2(uint32_t index, void **handle) {
    int result = enter(CALL_nvmlDeviceGetHandleByIndex_v2, NULL);
    if (result != SUCCESS) return result;
    if (index >= state->device_count) return INVALID_ARGUMENT;
    result = enter_device(CALL_nvmlDeviceGetHandleByIndex_v2, &state->devices[state->order[index]]);
    if (result == SUCCESS) *handle = handle_of(state->order[index]);
    return result;
}

static void *find_instance(uint32_t slot, const char *uuid) {
    const Device *device = &state->devices[slot];
    for (uint32_t i = 0; device->mig_mode && i < INSTANCES; i++)
        if (device->instances[i].present && strcmp(device->instances[i].uuid, uuid) == 0) return instance_handle(slot, i);
    return NULL;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    int result = enter(CALL_nvmlDeviceGetHandleByUUID, NULL);
    if (result != SUCCESS) return result;
    for (uint32_t i = 0; i < state->device_count; i++) {
        uint32_t slot = state->order[i];
        void *found = strcmp(state->devices[slot].uuid, uuid) == 0 ? handle_of(slot) : find_instance(slot, uuid);
        if (found == NULL) continue;
        result = enter_device(CALL_nvmlDeviceGetHandleByUUID, &state->devices[slot]);
        if (result == SUCCESS) *handle = found;
        return result;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetName(void *handle, char *text, uint32_t size) {
    ON_ANY(nvmlDeviceGetName);
    return copy_text(text, size, instance != NULL ? instance->name : device->name);
}

int nvmlDeviceGetUUID(void *handle, char *text, uint32_t size) {
    ON_ANY(nvmlDeviceGetUUID);
    return copy_text(text, size, instance != NULL ? instance->uuid : device->uuid);
}

int nvmlDeviceGetSerial(void *handle, char *text, uint32_t size) {
    ON_DEVICE(nvmlDeviceGetSerial);
    return copy_text(text, size, device->serial);
}

int nvmlDeviceGetPciInfo_v3(void *handle, PciInfo *info) {
    ON_DEVICE(nvmlDeviceGetPciInfo_v3);
    memset(info, 0, sizeof *info);
    copy_text(info->bus_id, sizeof info->bus_id, device->bus_id);
    sscanf(device->bus_id, "%x:%x:%x", &info->domain, &info->bus, &info->device);
    info->device_id = device->pci_device_id;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    ON_DEVICE(nvmlDeviceGetCudaComputeCapability);
    *major = device->capability_major;
    *minor = device->capability_minor;
    return SUCCESS;
}

/* Events. */
int nvmlEventSetCreate(EventSet **set) {
    int result = enter(CALL_nvmlEventSetCreate, NULL);
    if (result != SUCCESS) return result;
    *set = calloc(1, sizeof **set);
    (*set)->state = state;
    (*set)->session = session;
    (*set)->next = __atomic_load_n(&state->event_count, __ATOMIC_ACQUIRE);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, EventSet *set) {
    ON_DEVICE(nvmlDeviceRegisterEvents);
    set->types[device - state->devices] |= types;
    set->handles[device - state->devices] = handle;
    return SUCCESS;
}

static int next_event(EventSet *set, EventData *data) {
    State *mine = set->state;
    while (set->next < __atomic_load_n(&mine->event_count, __ATOMIC_ACQUIRE)) {
        const Event *event = &mine->events[set->next++ % EVENTS];
        if (!(set->types[event->device] & event->type)) continue;
        *data = (EventData){set->handles[event->device], event->type, event->data, UINT32_MAX, UINT32_MAX};
        return 1;
    }
    return 0;
}

/* Sleep until the Python side has raised an event, or told of an error or a reload; not one wake-up before. */
static void wait_for_wake(State *mine, uint32_t seen, double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    syscall(SYS_futex, &mine->wakes, FUTEX_WAIT, seen, &left, NULL, 0);
}

int nvmlEventSetWait_v2(EventSet *set, EventData *data, uint32_t timeout_ms) {
    State *mine = set->state;
    add(&mine->calls[CALL_nvmlEventSetWait_v2], 1);
    uint32_t limit = mine->event_wait_limit_ms;
    double deadline = seconds_now() + (limit != 0 && limit < timeout_ms ? limit : timeout_ms) * 1e-3;
    for (;;) {
        uint32_t wakes = __atomic_load_n(&mine->wakes, __ATOMIC_ACQUIRE);
        int failed = mine->result != SUCCESS ? mine->result : mine->results[CALL_nvmlEventSetWait_v2];
        if (failed != SUCCESS) return failed;
        if (set->session != mine->session) return UNINITIALIZED;
        if (next_event(set, data)) return SUCCESS;
        double left = deadline - seconds_now();
        if (left <= 0) return TIMEOUT;
        wait_for_wake(mine, wakes, left);
    }
}

int nvmlEventSetFree(EventSet *set) {
    free(set);
    return SUCCESS;
}

/* What gpuwatch must never call: it is read-only, and throughput blocks for 20 ms. */
static int forbidden(void) {
    if (state != NULL) add(&state->forbidden_calls, 1);
    return NO_PERMISSION;
}

int nvmlDeviceGetPcieThroughput(void) { return forbidden(); }
int nvmlDeviceSetPersistenceMode(void) { return forbidden(); }
int nvmlDeviceSetPowerManagementLimit(void) { return forbidden(); }
