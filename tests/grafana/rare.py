"""What a healthy demo does not tell: metrics and points in which queries for it have something to find."""

from __future__ import annotations

JOB = 'job_id="run-1",started="1",uuid="demo:0",epoch="e"'
GAUGES = """\
gpuwatch_forecast_coverage_ratio{stage="0.5",level="0.5",weight="jobs"} 0.5
gpuwatch_forecast_coverage_ratio{stage="0.5",level="0.8",weight="jobs"} 0.8
gpuwatch_forecast_coverage_ratio{stage="0.5",level="0.9",weight="jobs"} 0.9
gpuwatch_forecast_alert_precision_ratio{threshold="0.8"} 0.9
gpuwatch_forecast_alert_recall_ratio{threshold="0.8"} 0.9
gpuwatch_forecast_alert_early_ratio{threshold="0.8"} 0.9
gpuwatch_forecast_alert_per_job_ratio{threshold="0.8"} 0.1
gpuwatch_forecast_limit_probability{scope_kind="job",scope="run-1"} 0.2
gpuwatch_alert_judged{kind="projected"} 20
gpuwatch_alert_right_ratio{kind="projected"} 0.9
gpuwatch_alert_muted_ratio 0.1
gpuwatch_alert_acted_ratio 0.5
gpuwatch_alert_letters_per_person_week{statistic="max"} 2
gpuwatch_accounting_scheduler_seconds{scheduler="slurm"} 0.2
gpuwatch_accounting_scheduler_up{scheduler="slurm"} 1
gpuwatch_accounting_ledger_intact 1
gpuwatch_accounting_last_backup_successful 1
gpuwatch_accounting_last_backup_timestamp_seconds 1
gpuwatch_host_swap_used_bytes 1
gpuwatch_host_power_watts{source="ipmi"} 3400
gpuwatch_device_power_watts{uuid="demo:0",window="average",scope="module"} 900
"""
COUNTERS = (
    'gpuwatch_accounting_rows_rejected_total{reason="key"}',
    'gpuwatch_accounting_records_rejected_total{reason="key"}',
    'gpuwatch_sink_failures_total{sink="influxdb:main",reason="network"}',
    'gpuwatch_sink_dropped_total{sink="influxdb:main",reason="age"}',
    'gpuwatch_web_requests_refused_total{reason="busy"}',
    'gpuwatch_web_connections_cut_total{reason="evicted"}',
    'gpuwatch_device_unattributed_seconds_total{uuid="demo:0",epoch="e"}',
    'gpuwatch_device_unattributed_energy_joules_total{uuid="demo:0",epoch="e"}',
    'gpuwatch_host_infiniband_port_data_received_bytes_total{device="mlx5_0",port="1"}',
    'gpuwatch_host_infiniband_port_data_transmitted_bytes_total{device="mlx5_0",port="1"}',
    'gpuwatch_host_nfs_read_bytes_total{mountpoint="/data"}',
    'gpuwatch_host_nfs_write_bytes_total{mountpoint="/data"}',
    'gpuwatch_host_nfs_operations_requests_total{mountpoint="/data",operation="read"}',
    'gpuwatch_host_nfs_operations_queue_time_seconds_total{mountpoint="/data",operation="read"}',
    'gpuwatch_host_nfs_operations_response_time_seconds_total{mountpoint="/data",operation="read"}',
    'gpuwatch_host_nfs_operations_major_timeouts_total{mountpoint="/data",operation="read"}',
    'gpuwatch_host_lustre_read_bytes_total{filesystem="scratch"}',
    'gpuwatch_host_lustre_write_bytes_total{filesystem="scratch"}',
    'gpuwatch_host_lustre_requests_total{filesystem="scratch"}',
    'gpuwatch_host_lustre_request_wait_seconds_total{filesystem="scratch"}',
    'gpuwatch_host_disk_reads_completed_total{device="sda"}',
    'gpuwatch_host_disk_read_time_seconds_total{device="sda"}',
    'gpuwatch_device_energy_joules_total{uuid="demo:1",method="modelled"}',
    'gpuwatch_device_xgmi_bytes_total{uuid="demo:0",direction="receive"}',
    f'gpuwatch_job_energy_joules_total{{{JOB},method="counter"}}',
    f"gpuwatch_job_host_energy_joules_total{{{JOB}}}",
    f"gpuwatch_job_host_energy_measured_seconds_total{{{JOB}}}",
    f"gpuwatch_job_held_seconds_total{{{JOB}}}",
    f'gpuwatch_job_state_seconds_total{{{JOB},state="unknown"}}',
    'gpuwatch_job_declared{job_id="run-1",started="1",quantity="energy",bound="likely"}',
)


def page(now: float) -> str:
    """The page at a time; counters grow by one a second."""
    gauges = f"{GAUGES}gpuwatch_device_job_share{{{JOB}}} 1\n"
    return gauges + "".join(f"{name} {now:.3f}\n" for name in COUNTERS)


def lines(now: float) -> str:
    """Points of devices whose energy is integrated or modelled, and of a job on them: two, half a minute apart."""
    device = "gpuwatch_device,cluster=demo,node=gpu01,uuid=demo:0,model=Demo"
    job = "gpuwatch_job,cluster=demo,node=gpu01,job_id=run-1,started=1,uuid=demo:0,epoch=e"
    return "".join(
        f"{series} energy_joules_total_integrated={joules},energy_joules_total_modelled={joules} {now - ago:.0f}\n"
        for series in (device, job)
        for joules, ago in ((100.0, 60), (400.0, 30))
    )
