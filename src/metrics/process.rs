//! What the kernel says of this process, under the names every Prometheus exporter uses.

use std::time::SystemTime;

/// Figures of `/proc/self`; what cannot be read is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    pub resident_bytes: Option<u64>,
    pub cpu_seconds: Option<f64>,
}

impl Process {
    pub fn read() -> Process {
        let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Process {
            open_fds: open_fds(),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            resident_bytes: kibibytes.map(|count| count << 10),
            cpu_seconds: Some(times.tv_sec as f64 + times.tv_nsec as f64 / 1e9),
        }
    }
}

/// The kernel says the number as the folder's size since Linux 6.2; before that the entries are counted.
fn open_fds() -> Option<u64> {
    let said = std::fs::metadata("/proc/self/fd").ok()?.len();
    if said > 0 { Some(said) } else { std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64) }
}

/// Seconds since the epoch.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
