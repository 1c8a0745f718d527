//! Station *metrics*: scored groups in, numbers under TRL's names out.

use whetstone_domain::event::Metrics;
use whetstone_domain::{GroupClass, GroupRecord, Outcome, Role, Rollout, StopReason};

use crate::advantage::mean_std;

/// What a step's rollouts say. Shares and means over all rollouts, the skipped ones included.
pub fn of_groups(groups: &[GroupRecord]) -> Metrics {
    let mut m = Metrics::new();
    let rollouts: Vec<_> = groups.iter().flat_map(|g| &g.rollouts).collect();
    let n = rollouts.len().max(1) as f64;
    let share = |k: usize| k as f64 / n;
    let mut put = |key: &str, value: f64| {
        m.insert(key.to_owned(), value);
    };

    put("reward", groups.iter().map(|g| g.mean).sum::<f64>() / groups.len().max(1) as f64);
    put("reward_std", groups.iter().map(|g| g.std).sum::<f64>() / groups.len().max(1) as f64);
    put("frac_reward_zero_std", groups.iter().filter(|g| g.std == 0.0).count() as f64 / groups.len().max(1) as f64);
    if let Some(first) = rollouts.first() {
        for part in &first.reward.parts {
            // conversations and single answers have parts of their own
            let of = |r: &Rollout| r.reward.parts.iter().find(|p| p.name == part.name).and_then(|p| p.value);
            let values: Vec<f64> = rollouts.iter().filter_map(|r| of(r)).collect();
            if !values.is_empty() {
                let (mean, std) = mean_std(&values);
                put(&format!("rewards/{}/mean", part.name), mean);
                put(&format!("rewards/{}/std", part.name), std);
            }
        }
    }
    let lengths: Vec<f64> = rollouts.iter().map(|r| r.ids.len() as f64).collect();
    put("completions/mean_length", lengths.iter().sum::<f64>() / n);
    put("completions/min_length", lengths.iter().copied().fold(f64::INFINITY, f64::min));
    put("completions/max_length", lengths.iter().copied().fold(0.0, f64::max));
    put("completions/clipped_ratio", share(rollouts.iter().filter(|r| r.stop == StopReason::Length).count()));
    // where the last turn cannot be read, one for every turn before it that was answered by tools
    let answered = |r: &Rollout| r.turns.iter().filter(|t| t.role == Role::Tool).count();
    let calls: usize = rollouts.iter().map(|r| r.parse.strict.as_ref().map_or_else(|_| answered(r), Vec::len)).sum();
    put("tools/call_frequency", share(calls));
    let run: Vec<bool> = rollouts.iter().flat_map(|r| &r.turns).flat_map(|t| &t.exchanges).map(|e| e.result.failure.is_some()).collect();
    if !run.is_empty() {
        // of the calls that were run (TRL's name and meaning)
        put("tools/failure_frequency", run.iter().filter(|failed| **failed).count() as f64 / run.len() as f64);
    }
    for outcome in Outcome::ALL {
        put(&format!("outcome/{}", outcome.name()), share(rollouts.iter().filter(|r| r.outcome == outcome).count()));
    }
    for class in GroupClass::ALL {
        put(&format!("group/{}", class.name()), groups.iter().filter(|g| g.class == class).count() as f64 / groups.len().max(1) as f64);
    }
    let (mut entropy, mut sampled) = (0.0, 0usize);
    for r in &rollouts {
        for (e, _) in r.entropies.iter().zip(&r.mask).filter(|(_, m)| **m == 1) {
            entropy += f64::from(*e);
            sampled += 1;
        }
    }
    put("entropy", entropy / sampled.max(1) as f64);
    put("accuracy/train", share(rollouts.iter().filter(|r| r.outcome.is_correct()).count()));
    m
}

/// Most resident memory of this process so far, bytes; what it holds now where the system does not tell (all but Linux).
pub fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or_else(resident_bytes, |kb| kb * 1024)
}

/// Memory of this machine, or of the container that this process is in, bytes; 0 where the system does not tell.
pub fn total_bytes() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else { return 0 };
    system.refresh_memory();
    let total = system.total_memory();
    system.cgroup_limits().map_or(total, |limits| limits.total_memory.min(total))
}

/// Resident memory of this process, bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    resident_bytes_of(std::process::id())
}

/// Resident memory of a process, bytes; 0 where there is none or the system does not tell.
pub fn resident_bytes_of(pid: u32) -> u64 {
    let Ok(mut system) = sysinfo::System::new() else { return 0 };
    let pid = sysinfo::Pid::from_u32(pid);
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).map_or(0, sysinfo::Process::memory)
}
