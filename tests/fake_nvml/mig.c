/* Slices of a device (MIG): which there are, and what tells them apart. */
#include "fake_nvml.h"

int nvmlDeviceGetMigMode(void *handle, uint32_t *current, uint32_t *pending) {
    ON_DEVICE(nvmlDeviceGetMigMode);
    if (device->mig_slices == 0) return NOT_SUPPORTED;
    *current = *pending = device->mig_mode;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, uint32_t *count) {
    ON_DEVICE(nvmlDeviceGetMaxMigDeviceCount);
    *count = device->mig_slices;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, uint32_t index, void **slice) {
    ON_DEVICE(nvmlDeviceGetMigDeviceHandleByIndex);
    if (index >= device->mig_slices) return INVALID_ARGUMENT;
    if (!device->mig_mode || index >= INSTANCES || !device->instances[index].present) return NOT_FOUND;
    *slice = instance_handle((uint32_t)(device - state->devices), index);
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *handle, void **whole) {
    ON_ANY(nvmlDeviceGetDeviceHandleFromMigDeviceHandle);
    if (instance == NULL) return INVALID_ARGUMENT;
    *whole = handle_of((uint32_t)(device - state->devices));
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(void *handle, uint32_t *id) {
    ON_ANY(nvmlDeviceGetGpuInstanceId);
    if (instance == NULL) return NOT_SUPPORTED;
    *id = instance->gpu_instance;
    return SUCCESS;
}

int nvmlDeviceGetComputeInstanceId(void *handle, uint32_t *id) {
    ON_ANY(nvmlDeviceGetComputeInstanceId);
    if (instance == NULL) return NOT_SUPPORTED;
    *id = instance->compute_instance;
    return SUCCESS;
}

int nvmlDeviceGetAttributes_v2(void *handle, Attributes *attributes) {
    ON_ANY(nvmlDeviceGetAttributes_v2);
    if (instance == NULL) return NOT_SUPPORTED;
    *attributes = (Attributes){
        .multiprocessors = 16 * instance->compute_slices,
        .gpu_instance_slices = instance->gpu_slices,
        .compute_instance_slices = instance->compute_slices,
        .memory_mb = instance->memory_total >> 20,
    };
    return SUCCESS;
}
