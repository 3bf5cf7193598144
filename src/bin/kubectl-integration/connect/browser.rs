//! Opening a link in the person's browser, or printing it where there is none.

use std::process::Stdio;

use tokio::process::Command;

/// Opens `url`, or prints it: where `print` says so, without a display, or when the browser cannot be started.
pub(crate) async fn open(url: &str, print: bool) {
    if !print && let Some(program) = opener() {
        let started = Command::new(program)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        if started.is_ok_and(|status| status.success()) {
            println!("Opened the browser; go on there. If it shows nothing, open this link:\n\n  {url}\n");
            return;
        }
    }
    println!("Open this link in a browser:\n\n  {url}\n");
}

/// The program that opens links; none where there is no display.
fn opener() -> Option<&'static str> {
    if cfg!(target_os = "macos") {
        return Some("open");
    }
    let display =
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|on| !on.is_empty()));
    (cfg!(unix) && display).then_some("xdg-open")
}
