//! What is read from the system and from the API server.

use std::collections::BTreeMap;

use crate::cluster::ApiRequest;
use crate::world::{Operator, World};

/// CPU time of the processes so far, in seconds, and the API server's requests.
pub struct Reading {
    pub operator: f64,
    pub api_server: f64,
    pub etcd: f64,
    pub controller_manager: f64,
    requests: BTreeMap<ApiRequest, u64>,
}

impl Reading {
    pub async fn take(world: &World, operator: Option<&Operator>) -> Self {
        let of = |part: &str| process(world, part).map_or(f64::NAN, cpu);
        Self {
            operator: operator.map_or(f64::NAN, |operator| cpu(operator.process_id())),
            api_server: of("apiserver"),
            etcd: of("etcd"),
            controller_manager: of("controller-manager"),
            requests: world.cluster.api_request_counts().await.unwrap(),
        }
    }

    /// What was asked of the API server since `before`: Secrets, integrations and Events, watches left out.
    pub fn requests_since(&self, before: &Self) -> Vec<(String, u64)> {
        let ours = |request: &ApiRequest| {
            matches!(request.resource.as_str(), "secrets" | "projectintegrations" | "events") && request.verb != "WATCH"
        };
        let made = |request: &ApiRequest, count: u64| count - before.requests.get(request).copied().unwrap_or(0);
        let name = |request: &ApiRequest| {
            let parts = [request.resource.as_str(), request.subresource.as_str()];
            format!("{:<7} {}", request.verb, parts.join("/").trim_end_matches('/'))
        };
        let counted = self.requests.iter().filter(|(request, _)| ours(request));
        counted.map(|(request, count)| (name(request), made(request, *count))).filter(|(_, made)| *made > 0).collect()
    }
}

/// The process of a part of the control plane, where it is ours.
pub fn process(world: &World, part: &str) -> Option<u32> {
    world.cluster.process_ids().into_iter().find(|(name, _)| name.contains(part)).map(|(_, process)| process)
}

/// CPU time of a process so far, in seconds (utime and stime of /proc/PID/stat, in ticks of 10 ms).
pub fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Resident memory of a process in MiB: now (`VmRSS`), or the most since the last `forget_peak` (`VmHWM`).
pub fn memory(process: u32, what: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Begins anew to note the most memory that a process has.
pub fn forget_peak(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
}

/// The last lines of an operator's log.
pub fn tail(operator: &Operator) -> String {
    let log = operator.log();
    let lines: Vec<_> = log.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The value below which a part of `sorted` lies.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(place.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// What this was measured on.
pub fn machine(world: &World) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    println!(
        "{cores} cores ({}), {:.0} GiB, Linux {}, control plane from {}",
        model.unwrap_or("unknown"),
        memory.unwrap_or(f64::NAN) / f64::from(1 << 20),
        read("/proc/sys/kernel/osrelease").trim(),
        world.cluster.origin(),
    );
}
