/* Activity between two samples (GPM). As with the real library, a sample is an object of the caller's that must not
 * be used from two places at once; here that is noticed and counted instead of taking the kernel down. */
#include "fake_nvml.h"
#include <stdlib.h>

#define ALIVE 0x47504d21u

struct GpmSample {
    uint32_t alive, busy;
    double time, active[ACTIVITIES];
};

static int claim(GpmSample *sample) {
    int sound = sample != NULL && __atomic_load_n(&sample->alive, __ATOMIC_ACQUIRE) == ALIVE;
    if (sound && !__atomic_exchange_n(&sample->busy, 1, __ATOMIC_ACQ_REL)) return 1;
    add(&state->gpm_panics, 1);
    return 0;
}

static void yield_claim(GpmSample *sample) { __atomic_store_n(&sample->busy, 0, __ATOMIC_RELEASE); }

static Activity activity_of(const Activity *activity) {
    Activity copy;
    uint64_t before;
    do {
        while ((before = __atomic_load_n(&state->sequence, __ATOMIC_ACQUIRE)) & 1) sleep_seconds(1e-6);
        copy = *activity;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (before != __atomic_load_n(&state->sequence, __ATOMIC_RELAXED));
    return copy;
}

static void take(GpmSample *sample, const Activity *from) {
    Activity activity = activity_of(from);
    sample->time = seconds_now();
    for (int i = 0; i < ACTIVITIES; i++)
        sample->active[i] = activity.base[i] + activity.ratio[i] * (sample->time - activity.since);
}

int nvmlGpmQueryDeviceSupport(void *handle, GpmSupport *support) {
    ON_DEVICE(nvmlGpmQueryDeviceSupport);
    if (support->version != 1) return VERSION_MISMATCH;
    support->supported = device->gpm;
    return SUCCESS;
}

int nvmlGpmSampleAlloc(GpmSample **sample) {
    int result = enter(CALL_nvmlGpmSampleAlloc, NULL);
    if (result != SUCCESS) return result;
    *sample = calloc(1, sizeof **sample);
    (*sample)->alive = ALIVE;
    add(&state->gpm_samples, 1);
    return SUCCESS;
}

/* The memory stays: whoever still uses it is to be noticed, not to crash. */
int nvmlGpmSampleFree(GpmSample *sample) {
    if (!claim(sample)) return INVALID_ARGUMENT;
    __atomic_store_n(&sample->alive, 0, __ATOMIC_RELEASE);
    add(&state->gpm_samples, (uint64_t)-1);
    return SUCCESS;
}

int nvmlGpmSampleGet(void *handle, GpmSample *sample) {
    if (!claim(sample)) return INVALID_ARGUMENT;
    Device *device = NULL;
    int result = on_device(CALL_nvmlGpmSampleGet, handle, &device);
    if (result == SUCCESS && !device->gpm) result = NOT_SUPPORTED;
    if (result == SUCCESS) take(sample, &device->activity);
    yield_claim(sample);
    return result;
}

static const Activity *instance_activity(const Device *device, uint32_t gpu_instance) {
    for (uint32_t i = 0; device->mig_mode && i < INSTANCES; i++)
        if (device->instances[i].present && device->instances[i].gpu_instance == gpu_instance)
            return &device->instances[i].activity;
    return NULL;
}

int nvmlGpmMigSampleGet(void *handle, uint32_t gpu_instance, GpmSample *sample) {
    if (!claim(sample)) return INVALID_ARGUMENT;
    Device *device = NULL;
    int result = on_device(CALL_nvmlGpmMigSampleGet, handle, &device);
    const Activity *activity = result == SUCCESS ? instance_activity(device, gpu_instance) : NULL;
    if (result == SUCCESS && !device->gpm) result = NOT_SUPPORTED;
    if (result == SUCCESS && activity == NULL) result = INVALID_ARGUMENT;
    if (result == SUCCESS) take(sample, activity);
    yield_claim(sample);
    return result;
}

static void answer_metric(GpmMetric *metric, const GpmSample *first, const GpmSample *second) {
    int index = metric->id == 2 ? 0 : metric->id == 5 ? 1 : metric->id == 10 ? 2 : -1;
    double seconds = second->time - first->time;
    metric->result = index < 0 ? INVALID_ARGUMENT : seconds <= 0 ? UNKNOWN : SUCCESS;
    if (metric->result == SUCCESS) metric->value = (second->active[index] - first->active[index]) / seconds * 100;
}

int nvmlGpmMetricsGet(GpmMetrics *asked) {
    int result = enter(CALL_nvmlGpmMetricsGet, NULL);
    if (result != SUCCESS) return result;
    if (asked->version != 1) return VERSION_MISMATCH;
    if (!claim(asked->first)) return INVALID_ARGUMENT;
    if (claim(asked->second)) {
        for (uint32_t i = 0; i < asked->count; i++) answer_metric(&asked->metrics[i], asked->first, asked->second);
        yield_claim(asked->second);
    } else {
        result = INVALID_ARGUMENT;
    }
    yield_claim(asked->first);
    return result;
}
