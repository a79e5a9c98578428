//! The command of dns-01: it sets and removes TXT records.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long the command may take; it is expected to wait until the record can be seen.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Characters of the command's own words that are logged.
const SAID: usize = 400;

/// Calls the command with `present` or `cleanup`, the record's name and its value.
///
/// # Errors
/// It cannot be started, fails, or takes longer than ten minutes.
pub(super) async fn call(hook: &[String], verb: &str, name: &str, value: &str) -> Result<(), String> {
    let Some((program, arguments)) = hook.split_first() else { return Err("there is no dns01_hook".into()) };
    let running = Command::new(program)
        .args(arguments)
        .args([verb, name, value])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(TIMEOUT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("dns01_hook {program}: {error}")),
        Err(_) => return Err(format!("dns01_hook {program} {verb}: not done within {} s", TIMEOUT.as_secs())),
    };
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect();
    Err(format!("dns01_hook {program} {verb} {name}: {}: {words}", output.status))
}
