//! The chart with Roles in named namespaces, and nothing for the others.

use anyhow::{Result, ensure};
use serde_json::json;

use super::install;
use super::person;
use crate::chart;
use crate::stage::{OPERATOR, Stage};
use crate::voice::say;

/// The namespace that is named, and one that is not.
const SERVED: &str = "beta";
const OTHER: &str = "gamma";

/// Installs, connects where it is served, and looks that the other namespace is out of reach.
pub(crate) async fn install(stage: &mut Stage) -> Result<()> {
    for namespace in [SERVED, OTHER] {
        stage.namespace(namespace, true).await?;
    }
    let mut values = stage.values(&stage.images.operator);
    values["rbac"] = json!({ "mode": "namespaces" });
    values["watchNamespaces"] = json!([SERVED]);
    chart::apply(&stage.cluster, "install", OPERATOR, &chart::of_source(), &values, &stage.directory).await?;
    say("installed again, over the definitions that were left");
    let account = install::as_operator();
    for (namespace, allowed) in [(SERVED, true), (OTHER, false)] {
        for (verb, resource) in [
            ("get", "secrets"),
            ("create", "secrets"),
            ("list", "projectintegrations"),
            ("patch", "projectintegrations"),
        ] {
            let asked = stage
                .cluster
                .kubectl()
                .args(["auth", "can-i", verb, resource, "-n", namespace, &account])
                .output()
                .await?;
            let answer = String::from_utf8_lossy(&asked.stdout).trim() == "yes";
            ensure!(answer == allowed, "{verb} {resource} in {namespace}: {answer}, should be {allowed}");
        }
        install::say_rights(stage, namespace).await?;
    }
    // The port on the node is another one now.
    stage.edge = None;
    install::edge(stage).await?;
    stage.integration(OTHER, "web", "login").await?;
    person::connect(stage, SERVED, "web").await?;
    let other = stage.integrations(OTHER).get("web.login").await?;
    let untouched = other.metadata.finalizers.is_none()
        && other.status.is_none_or(|status| status.conditions.is_empty() && status.authorization.is_none());
    ensure!(untouched, "an integration of a namespace that is not named was touched");
    say(format_args!("the integration of {OTHER} was not touched"));
    chart::uninstall(&stage.cluster, OPERATOR).await?;
    say("uninstalled");
    Ok(())
}
