//! What to try next, as lines to copy into another terminal.

use std::path::Path;

use anyhow::Result;

use crate::objects::{FRONTEND, INTEGRATION, TENANT};
use crate::operator::binaries;
use crate::stage::Stage;
use crate::voice::{line, say, step};

/// Says what runs and what can be done with it.
pub(crate) fn print(stage: &Stage) -> Result<()> {
    let (cluster, operator, sandbox) = (stage.cluster()?, stage.operator()?, stage.sandbox()?);
    let kubectl = is_on_path("kubectl");
    let plugin = if kubectl { "kubectl integration" } else { "kubectl-integration" };

    step(7, "Your turn");
    say("All of it goes on running, and the token goes on being refreshed. In another terminal:");
    line("");
    command(format!("export KUBECONFIG={}", quoted(cluster.kubeconfig())));
    command(format!("export PATH={}:\"$PATH\"", quoted(&binaries()?)));
    if !kubectl {
        line("");
        say("There is no kubectl here. Its plugin works by itself; for the rest, install kubectl.");
    }
    about("Look:");
    if kubectl {
        command("kubectl get pint -A".to_owned());
    }
    command(format!("{plugin} status {INTEGRATION} -n {TENANT}"));
    command(format!("{plugin} status {INTEGRATION} -n {TENANT} --watch"));
    about("Connect another project yourself (the link is for a browser on this machine):");
    command(format!("{plugin} connect shop.sandbox -n {TENANT} --create"));
    if kubectl {
        about("Or as a frontend does, over HTTP; open the link of the answer:");
        command(format!("TOKEN=$(kubectl create token {FRONTEND} -n {TENANT} --audience integration-operator)"));
        let path = format!("v1/tenants/{TENANT}/projects/blog/integrations/sandbox/install");
        command(format!("curl -H \"Authorization: Bearer $TOKEN\" '{}/{path}?agent_id=you'", operator.url));
    }
    about("Refresh at once; then revoke, and forget what is held:");
    command(format!("{plugin} refresh {INTEGRATION} -n {TENANT}"));
    command(format!("{plugin} disconnect {INTEGRATION} -n {TENANT}"));
    about("What the app saw, with hashes for tokens; and the operator's log:");
    command(format!("curl {}/_sandbox/ledger", sandbox.base_url));
    command(format!("tail -f {}", quoted(&operator.log)));
    line("");
    say("Ctrl-C here stops everything and removes it.");
    Ok(())
}

fn about(text: &str) {
    line("");
    say(text);
}

fn command(text: impl std::fmt::Display) {
    say(format_args!("  {text}"));
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if path.bytes().all(plain) { path.into_owned() } else { crate::cluster::supervisor::quote(&path) }
}
