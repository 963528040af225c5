/* What a device says: power, energy and everything else it answers with a value. */
#include "fake_nvml.h"
#include <stdio.h>
#include <string.h>

size_t fake_nvml_sizes[] = {
    sizeof(Utilization), sizeof(Memory), sizeof(MemoryV2), sizeof(Temperature), sizeof(PciInfo),
    sizeof(ProcessInfo), sizeof(EventData), sizeof(FieldValue), sizeof(Attributes), sizeof(FabricV2),
    sizeof(FabricV3), sizeof(GpmSupport), sizeof(GpmMetric), offsetof(GpmMetrics, metrics),
};

/* Power and energy. */
static Power power_of(const Device *device) {
    Power copy;
    uint64_t before;
    do {
        while ((before = __atomic_load_n(&state->sequence, __ATOMIC_ACQUIRE)) & 1) sleep_seconds(1e-6);
        copy = device->power;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (before != __atomic_load_n(&state->sequence, __ATOMIC_RELAXED));
    return copy;
}

static double joules_after(const Power *power, double elapsed, double *watts) {
    double period = 0, joules = 0, whole = 0;
    for (uint64_t i = 0; i < power->step_count; i++) {
        period += power->steps[i].seconds;
        whole += power->steps[i].seconds * power->steps[i].watts;
    }
    if (period <= 0 || elapsed < 0) return 0;
    double cycles = (double)(uint64_t)(elapsed / period), left = elapsed - cycles * period;
    joules = cycles * whole;
    for (uint64_t i = 0; i < power->step_count; i++) {
        const Step *step = &power->steps[i];
        *watts = step->watts;
        if (left < step->seconds) return joules + left * step->watts;
        joules += step->seconds * step->watts;
        left -= step->seconds;
    }
    return joules;
}

static void electricity(const Device *device, double *joules, double *instant, double *average) {
    Power power = power_of(device);
    double elapsed = seconds_now() - power.since, then = elapsed - power.mean_seconds, ignored = 0;
    *instant = 0;
    double used = joules_after(&power, elapsed, instant);
    *joules = power.base_joules + used;
    if (then < 0) then = 0;
    *average = elapsed - then > 1e-3 ? (used - joules_after(&power, then, &ignored)) / (elapsed - then) : *instant;
}

/* What it says. */
int nvmlDeviceGetUtilizationRates(void *handle, Utilization *rates) {
    ON_DEVICE(nvmlDeviceGetUtilizationRates);
    if (device->mig_mode) return NOT_SUPPORTED;
    *rates = (Utilization){device->gpu_percent, device->memory_percent};
    return SUCCESS;
}

int nvmlDeviceGetEncoderUtilization(void *handle, uint32_t *percent, uint32_t *period_us) {
    ON_DEVICE(nvmlDeviceGetEncoderUtilization);
    if (device->mig_mode) return NOT_SUPPORTED;
    *percent = device->encoder_percent;
    *period_us = 167000;
    return SUCCESS;
}

int nvmlDeviceGetDecoderUtilization(void *handle, uint32_t *percent, uint32_t *period_us) {
    ON_DEVICE(nvmlDeviceGetDecoderUtilization);
    if (device->mig_mode) return NOT_SUPPORTED;
    *percent = device->decoder_percent;
    *period_us = 167000;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    ON_ANY(nvmlDeviceGetMemoryInfo);
    if (instance != NULL) {
        uint64_t free = instance->memory_total - instance->memory_used;
        *memory = (Memory){instance->memory_total, free, instance->memory_used};
        return SUCCESS;
    }
    uint64_t used = device->memory_used + device->memory_reserved;
    *memory = (Memory){device->memory_total, device->memory_total - used, used};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory) {
    ON_ANY(nvmlDeviceGetMemoryInfo_v2);
    if (memory->version != (sizeof *memory | 2u << 24)) return VERSION_MISMATCH;
    if (instance != NULL) {
        uint64_t left = instance->memory_total - instance->memory_used;
        *memory = (MemoryV2){memory->version, instance->memory_total, 0, left, instance->memory_used};
        return SUCCESS;
    }
    uint64_t free = device->memory_total - device->memory_used - device->memory_reserved;
    *memory = (MemoryV2){memory->version, device->memory_total, device->memory_reserved, free, device->memory_used};
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, uint32_t *milliwatts) {
    ON_DEVICE(nvmlDeviceGetPowerUsage);
    double joules, instant, average;
    electricity(device, &joules, &instant, &average);
    *milliwatts = (uint32_t)(average * 1e3 + 0.5);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, uint32_t *milliwatts) {
    ON_DEVICE(nvmlDeviceGetEnforcedPowerLimit);
    *milliwatts = device->limit_mw;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *millijoules) {
    ON_DEVICE(nvmlDeviceGetTotalEnergyConsumption);
    double joules, instant, average;
    electricity(device, &joules, &instant, &average);
    *millijoules = (unsigned long long)(joules * 1e3);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, uint32_t sensor, uint32_t *celsius) {
    ON_DEVICE(nvmlDeviceGetTemperature);
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = (uint32_t)device->temperature;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(void *handle, Temperature *temperature) {
    ON_DEVICE(nvmlDeviceGetTemperatureV);
    if (temperature->version != (sizeof *temperature | 1u << 24)) return VERSION_MISMATCH;
    if (temperature->sensor != 0) return INVALID_ARGUMENT;
    temperature->temperature = device->temperature;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(void *handle, uint32_t domain, uint32_t *megahertz) {
    ON_DEVICE(nvmlDeviceGetClockInfo);
    if (domain >= 4) return INVALID_ARGUMENT;
    if (device->clocks_mhz[domain] == UINT32_MAX) return NOT_SUPPORTED;
    *megahertz = device->clocks_mhz[domain];
    return SUCCESS;
}

static void compute_field(const Device *device, uint32_t id, Value *value) {
    double joules, instant, average;
    electricity(device, &joules, &instant, &average);
    if (id == 83) value->longlong = (unsigned long long)(joules * 1e3);
    else value->word = (uint32_t)((id == 185 ? average : instant) * 1e3 + 0.5);
}

static void answer_field(const Device *device, FieldValue *asked) {
    asked->result = NOT_SUPPORTED;
    asked->value.bits = 0;
    if (device->scopes_ignored) asked->scope = 0;
    for (uint64_t i = 0; i < device->field_count; i++) {
        const Field *field = &device->fields[i];
        if (field->id != asked->id || field->scope != asked->scope) continue;
        asked->result = (uint32_t)field->result;
        asked->type = field->type;
        asked->timestamp = (int64_t)(seconds_now() * 1e6);
        if (field->result != SUCCESS) return;
        if (field->computed) compute_field(device, field->id, &asked->value);
        else asked->value.bits = field->bits;
        return;
    }
}

int nvmlDeviceGetFieldValues(void *handle, int count, FieldValue *values) {
    ON_DEVICE(nvmlDeviceGetFieldValues);
    for (int i = 0; i < count; i++) answer_field(device, &values[i]);
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(void *handle, uint32_t type, uint32_t scope, unsigned long long *count) {
    ON_DEVICE(nvmlDeviceGetTotalEccErrors);
    if (type > 1 || scope > 1) return INVALID_ARGUMENT;
    *count = device->ecc[type][scope];
    return SUCCESS;
}

static int list_processes(const Process *from, uint64_t there, uint32_t *count, ProcessInfo *into) {
    uint32_t room = *count;
    *count = (uint32_t)there;
    if (there == 0) return SUCCESS;
    if (room < there || into == NULL) return INSUFFICIENT_SIZE;
    for (uint64_t i = 0; i < there; i++)
        into[i] = (ProcessInfo){from[i].pid, from[i].memory, UINT32_MAX, UINT32_MAX};
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, uint32_t *count, ProcessInfo *into) {
    ON_ANY(nvmlDeviceGetComputeRunningProcesses_v3);
    if (instance != NULL) return list_processes(instance->compute, instance->compute_count, count, into);
    return list_processes(device->compute, device->compute_count, count, into);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, uint32_t *count, ProcessInfo *into) {
    ON_DEVICE(nvmlDeviceGetGraphicsRunningProcesses_v3);
    return list_processes(device->graphics, device->graphics_count, count, into);
}

int nvmlDeviceGetRemappedRows(
    void *handle, uint32_t *corrected, uint32_t *uncorrected, uint32_t *pending, uint32_t *failure) {
    ON_DEVICE(nvmlDeviceGetRemappedRows);
    *corrected = device->remapped[0];
    *uncorrected = device->remapped[1];
    *pending = device->remapped[2];
    *failure = device->remapped[3];
    return SUCCESS;
}

int nvmlDeviceGetGpuFabricInfoV(void *handle, FabricV3 *info) {
    ON_DEVICE(nvmlDeviceGetGpuFabricInfoV);
    if (device->fabric_version == 0) return NOT_SUPPORTED;
    uint32_t version = info->version >> 24, size = info->version & 0xffffff;
    if (version > device->fabric_version || size != (version == 3 ? sizeof(FabricV3) : sizeof(FabricV2)))
        return VERSION_MISMATCH;
    info->state = device->fabric_state;
    info->status = device->fabric_status;
    info->health_mask = device->fabric_health;
    if (version == 3) info->health_summary = (uint8_t)device->fabric_summary;
    return SUCCESS;
}
