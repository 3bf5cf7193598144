//! `providers diff`: what would change if a file were applied, and who would have to authorize again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DeserializeGuard;
use kube::{Client, Config, ResourceExt as _};
use serde_json::Value;

use super::Answer;
use super::lint::read;
use crate::api::provider::ProviderSpec;
use crate::api::{ClusterIntegrationProvider, IntegrationProvider, ProjectIntegration, ProviderKind};
use crate::grant::binding::ProviderRef;
use crate::provider::catalogue;
use crate::provider::diff::{Change, Side, User, changes, reasons};

/// Integrations asked for at a time.
const PAGE: u32 = 500;

/// Exit code where somebody must authorize again.
const AUTHORIZE_AGAIN: u8 = 2;

/// Options of `providers diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The description that would be applied.
    pub file: PathBuf,
    /// Compare with this file, or with a built-in description of this name, and not with the cluster.
    #[arg(long, value_name = "OLD")]
    pub with: Option<String>,
    /// Path of the kubeconfig file.
    #[arg(long, conflicts_with = "with")]
    pub kubeconfig: Option<PathBuf>,
    /// Context within the kubeconfig.
    #[arg(long, conflicts_with = "with")]
    pub context: Option<String>,
    /// Namespace of an IntegrationProvider that names none; the context's own when absent.
    #[expect(clippy::doc_markdown, reason = "clap prints this")]
    #[arg(short, long, conflicts_with = "with")]
    pub namespace: Option<String>,
}

/// A description out of a file.
struct Written {
    kind: ProviderKind,
    name: String,
    namespace: Option<String>,
    spec: ProviderSpec,
}

/// Compares. Exits with 2 where somebody must authorize again.
pub(super) fn run(options: &Diff) -> anyhow::Result<Answer> {
    let new = written(&read(&options.file)?).with_context(|| options.file.display().to_string())?;
    if let Some(old) = &options.with {
        return offline(&old_description(old)?, &new);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(with_cluster(options, &new))
}

fn offline(old: &ProviderSpec, new: &Written) -> anyhow::Result<Answer> {
    let reference = reference(new, "");
    let side = |spec| Side::new(&reference, spec).map_err(anyhow::Error::msg);
    let (old, new) = (side(old).context("the old description cannot be used")?, side(&new.spec)?);
    let changed = changes(&old, &new);
    let flows = old.same_flow(&new);
    let (old, user) = old.sample();
    let (new, more) = new.sample();
    // What the new form asks for beyond the old one is told by its fields.
    let user = User { parameters: more.parameters.into_iter().chain(user.parameters).collect(), ..user };
    let reasons = reasons(&old, &new, &user);
    let mut text = fields(&changed);
    if !reasons.is_empty() {
        text += "\nEvery integration must authorize again:\n";
        text.extend(reasons.iter().map(|reason| format!("  {reason}\n")));
    }
    text += end(&changed, flows);
    Ok(Answer { text, code: if reasons.is_empty() { 0 } else { AUTHORIZE_AGAIN } })
}

async fn with_cluster(options: &Diff, new: &Written) -> anyhow::Result<Answer> {
    let (client, namespace) = connect(options).await?;
    let namespace = new.namespace.clone().or_else(|| options.namespace.clone()).unwrap_or(namespace);
    let Some((uid, old)) = current(&client, new, &namespace).await? else {
        let text = format!("{} does not exist yet; nobody uses it\n", new.name);
        return Ok(Answer::well(text));
    };
    let reference = reference(
        &Written { namespace: Some(namespace.clone()), spec: new.spec.clone(), name: new.name.clone(), kind: new.kind },
        &uid,
    );
    let old = Side::new(&reference, &old)
        .map_err(anyhow::Error::msg)
        .context("the provider in the cluster cannot be used")?;
    let new_side = Side::new(&reference, &new.spec).map_err(anyhow::Error::msg)?;
    let changed = changes(&old, &new_side);
    let mut text = fields(&changed);
    let (mut count, mut again) = (0_usize, Vec::new());
    if !changed.is_empty() {
        for integration in integrations(&client, new, &namespace).await? {
            count += 1;
            let spec = &integration.spec;
            let user = User { parameters: spec.parameters.clone(), scopes: spec.scopes.clone() };
            let reasons = reasons(&old, &new_side, &user);
            if !reasons.is_empty() {
                let of = integration.namespace().unwrap_or_default();
                again.push(format!("  {of}/{}: {}\n", integration.name_any(), reasons.join("; ")));
            }
        }
        let colon = if again.is_empty() { "" } else { ":" };
        text = format!("{text}\n{} of {count} integrations must authorize again{colon}\n", again.len());
    }
    text.extend(again.iter().map(String::as_str));
    text += end(&changed, old.same_flow(&new_side));
    Ok(Answer { text, code: if again.is_empty() { 0 } else { AUTHORIZE_AGAIN } })
}

fn reference(written: &Written, uid: &str) -> ProviderRef {
    let tenant = written.kind == ProviderKind::IntegrationProvider;
    let namespace = tenant.then(|| written.namespace.clone().unwrap_or_else(|| "default".to_owned()));
    ProviderRef { kind: written.kind, namespace, name: written.name.clone(), uid: uid.to_owned() }
}

/// The first description of a file.
fn written(text: &str) -> anyhow::Result<Written> {
    use serde::Deserialize as _;
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).context("is no YAML; `providers lint` says more")?;
        let kind = match value["kind"].as_str() {
            Some("ClusterIntegrationProvider") => ProviderKind::ClusterIntegrationProvider,
            Some("IntegrationProvider") => ProviderKind::IntegrationProvider,
            _ => continue,
        };
        let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
        let spec = serde_json::from_value(value["spec"].clone());
        return Ok(Written {
            kind,
            name: text("name").context("metadata.name is missing")?,
            namespace: text("namespace"),
            spec: spec.context("the spec cannot be read; `providers lint` says more")?,
        });
    }
    bail!("there is no ClusterIntegrationProvider and no IntegrationProvider in this file")
}

/// The description of a file, or a built-in one.
fn old_description(old: &str) -> anyhow::Result<ProviderSpec> {
    let path = Path::new(old);
    match catalogue::preset(old) {
        Some(spec) if !path.exists() => Ok(spec),
        _ => Ok(written(&read(path)?).with_context(|| old.to_owned())?.spec),
    }
}

fn fields(changes: &[Change]) -> String {
    let shown = |value: &Option<Value>| match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    changes.iter().fold(String::new(), |text, change| {
        text + &format!("{}: {} → {}\n", change.field, shown(&change.old), shown(&change.new))
    })
}

/// What holds for everybody.
fn end(changes: &[Change], same_flow: bool) -> &'static str {
    match (changes.is_empty(), same_flow) {
        (true, _) => "nothing changes\n",
        (false, true) => "",
        (false, false) => {
            "Whoever is on the way to the app while it is applied starts again: the link ends in invalid_state.\n"
        }
    }
}

async fn connect(options: &Diff) -> anyhow::Result<(Client, String)> {
    let how = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let config = match &options.kubeconfig {
        Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &how).await?,
        None if options.context.is_some() => Config::from_kubeconfig(&how).await?,
        None => Config::infer().await.context("no cluster to compare with; name one, or a file by --with")?,
    };
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}

/// The provider as it is in the cluster, with its uid.
async fn current(client: &Client, new: &Written, namespace: &str) -> anyhow::Result<Option<(String, ProviderSpec)>> {
    let name = &new.name;
    let failed = || format!("cannot get provider {name}");
    Ok(match new.kind {
        ProviderKind::ClusterIntegrationProvider => {
            let found =
                Api::<ClusterIntegrationProvider>::all(client.clone()).get_opt(name).await.with_context(failed)?;
            found.map(|found| (found.uid().unwrap_or_default(), found.spec.description))
        }
        ProviderKind::IntegrationProvider => {
            let api = Api::<IntegrationProvider>::namespaced(client.clone(), namespace);
            let found = api.get_opt(name).await.with_context(failed)?;
            found.map(|found| (found.uid().unwrap_or_default(), found.spec.description))
        }
    })
}

/// The integrations that use the provider. One that cannot be read uses nothing.
async fn integrations(client: &Client, new: &Written, namespace: &str) -> anyhow::Result<Vec<ProjectIntegration>> {
    let api: Api<DeserializeGuard<ProjectIntegration>> = match new.kind {
        ProviderKind::ClusterIntegrationProvider => Api::all(client.clone()),
        ProviderKind::IntegrationProvider => Api::namespaced(client.clone(), namespace),
    };
    let mut users = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = api.list(&page).await.context("cannot list projectintegrations")?;
        let readable = found.items.into_iter().filter_map(|integration| integration.0.ok());
        users.extend(readable.filter(|one| one.spec.type_ == new.name && one.spec.provider_kind == new.kind));
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(users),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, change: &dyn Fn(&str) -> String) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.yaml");
        std::fs::write(&path, change(catalogue::document(name).unwrap())).unwrap();
        (folder, path)
    }

    fn compared(name: &str, change: &dyn Fn(&str) -> String) -> Answer {
        let (_folder, file) = file(name, change);
        run(&Diff { file, with: Some(name.to_owned()), kubeconfig: None, context: None, namespace: None }).unwrap()
    }

    #[test]
    fn nothing_changes() {
        let answer = compared("slack", &str::to_owned);
        assert_eq!((answer.text.as_str(), answer.code), ("nothing changes\n", 0));
    }

    #[test]
    fn a_name_alone_leaves_grants_alone() {
        let answer = compared("slack", &|text| text.replace("displayName: Slack", "displayName: Ours"));
        assert_eq!(answer.code, 0, "{}", answer.text);
        assert!(answer.text.starts_with("spec.displayName: Slack → Ours\n"), "{}", answer.text);
        assert!(answer.text.ends_with("the link ends in invalid_state.\n"), "{}", answer.text);
    }

    #[test]
    fn a_scope_more_wants_everybody_again() {
        let answer = compared("slack", &|text| text.replace("- im:history", "- im:history\n      - im:write"));
        assert_eq!(answer.code, AUTHORIZE_AGAIN, "{}", answer.text);
        assert!(answer.text.contains("must authorize again:\n  scopes are added: im:write\n"), "{}", answer.text);
    }
}
