//! Files that are generated from the source and checked in: here they are compared, and with `UPDATE=1` written.
//!
//! `UPDATE=1 cargo test --test generated`

#[path = "generated/chart.rs"]
mod chart;
#[path = "generated/reference.rs"]
mod reference;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use integration_operator::api::{ConditionType, Reason, crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// What client-side apply can hold in its annotation, and so the most a CRD should weigh.
const MAX_BYTES: usize = 262_144;

const HEADER: &str = "# Generated from src/api by `UPDATE=1 cargo test --test generated`.\n";

type Outcome = Result<(), Box<dyn Error>>;

/// Compares a file with what it should be, or writes it.
fn settle(path: &Path, wanted: &str) -> Outcome {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.with_file_name(""))?;
        fs::write(path, wanted)?;
    } else {
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(found == wanted, "{} is stale; run `UPDATE=1 cargo test --test generated`", path.display());
    }
    Ok(())
}

fn doc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// `crds/integrations.tms.dev_projectintegrations.yaml` and so on, as controller-gen names them.
fn path(crd: &CustomResourceDefinition) -> PathBuf {
    let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(name)
}

#[test]
fn the_crds_are_those_of_the_source() -> Outcome {
    for crd in crds() {
        let path = path(&crd);
        let wanted = format!("{HEADER}{}", serde_yaml::to_string(&crd)?);
        assert!(wanted.len() < MAX_BYTES, "{} has {} bytes", path.display(), wanted.len());
        settle(&path, &wanted)?;
    }
    Ok(())
}

#[test]
fn the_http_api_is_documented() -> Outcome {
    let document = serde_json::to_string_pretty(&integration_operator::server::openapi::document())?;
    settle(&doc("openapi.json"), &format!("{document}\n"))
}

#[test]
fn nothing_else_lies_among_the_crds() -> Outcome {
    let known: Vec<PathBuf> = crds().iter().map(path).collect();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds"))? {
        let path = entry?.path();
        assert!(known.contains(&path), "{} belongs to no CRD", path.display());
    }
    Ok(())
}

/// Where a reason is to be met. One that is new does not compile until it has its place.
const fn met_in(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::Connected => "`Ready=True`, Event",
        R::Accepted => "`Ready=True` of providers",
        R::NotStalled => "`Stalled=False`",
        R::Granted | R::AccountMismatch => "`Authorized=True`",
        R::AuthorizationRequired
        | R::AuthorizationDenied
        | R::ReauthorizationRequired
        | R::ProviderChanged
        | R::ApiKeyMissing
        | R::ScopesInsufficient
        | R::ForeignGrant => "`Authorized=False`, `Ready=False`, `Stalled`, Event",
        R::Refreshed | R::NeverExpires => "`TokenFresh=True`",
        R::RefreshFailing | R::RefreshAmbiguous => "`TokenFresh=False`, `Ready=True`, Event",
        R::Expired | R::Suspended => "`TokenFresh=False`, `Ready=False`, Event",
        R::ClientCredentialsInvalid => "`TokenFresh=False`, `Ready=True`, `Stalled=True`, Event",
        R::Verified => "`Healthy=True`",
        R::Rejected | R::ProviderUnavailable => {
            "`Healthy=False`, `Ready=False`, Event; for a first API key `Authorized=False` too"
        }
        R::RateLimited => "`Healthy=Unknown`; for a first API key `Authorized=False`, `Ready=False` too",
        R::NotChecked => "`Healthy=Unknown`",
        R::TenantMismatch
        | R::SecretConflict
        | R::ProviderNotFound
        | R::ProviderNotAllowed
        | R::ProviderNotReady
        | R::ChoiceRequired => "`Ready=False`, `Stalled=True`, Event",
        R::AccountUnknown => "`Ready=False`, Event",
        R::InvalidSpec => "`Ready=False`, `Stalled=True`, Event; `Ready=False` of providers",
        R::ClientCredentialsMissing | R::DiscoveryFailed => {
            "`Ready=False`, `Stalled`, Event; `Ready=False` of providers"
        }
        R::Adopted | R::RevocationFailed | R::Revoked | R::RevocationSkippedShared => "Event",
        R::Disconnected => {
            "Event; for a key that `spec.apiKey` still names `Authorized=False`, `Ready=False`, `Stalled=True`"
        }
        R::StorageFailed => {
            "metrics; for a grant that cannot be read `Authorized=False`, `Ready=False`, `Stalled`, Event"
        }
        R::Deleting => "metrics",
    }
}

#[test]
fn metrics_are_documented() -> Outcome {
    let mut text = String::from(
        "# Metrics\n\n\
         <!-- Generated from src/metrics/definitions.rs by `make crds`; edit there. -->\n\n\
         Every replica serves them at `/metrics` of its second port (`--metrics-listen`). They are aggregates: no label \
         names a tenant, a project or an integration. Who asks for `application/openmetrics-text`, as Prometheus does, \
         gets OpenMetrics, with exemplars where [traces](operations.md#traces) are kept: the `trace_id` of an \
         observation in each bucket. Others get the older text format.\n\n\
         | name | type | labels | unit | says |\n|---|---|---|---|---|\n",
    );
    for metric in integration_operator::metrics::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, unit) = (metric.full_name(), metric.kind, metric.unit);
        writeln!(text, "| `{name}` | {kind} | {} | {unit} | {}. {} |", labels.join(", "), metric.help, metric.more)?;
    }
    text.push_str(
        "\nA counter appears with its first count. A histogram has `_bucket`, `_sum` and `_count` behind its name.\n",
    );
    settle(&doc("metrics.md"), &text)
}

#[test]
fn conditions_are_documented() -> Outcome {
    let types = [
        (ConditionType::Ready, "The summary. `True`: the access token in the Secret can be used."),
        (
            ConditionType::Stalled,
            "`True`: nothing gets better by waiting. Only a person, or a change of spec, helps. Tools that know kstatus \
             fail at once instead of waiting.",
        ),
        (
            ConditionType::Authorized,
            "A grant is held, with the scopes that are wanted, and it belongs to the provider as it is now.",
        ),
        (ConditionType::TokenFresh, "The access token has not expired and is refreshed in time."),
        (ConditionType::Healthy, "The app accepts the access token. `Unknown` until it was tried."),
    ];
    let mut text = String::from(
        "# Conditions\n\n\
         <!-- Generated from src/api/condition.rs by `make crds`; edit there. -->\n\n\
         Every `ProjectIntegration` has the conditions `Ready`, `Stalled` and `Authorized`. `TokenFresh` and `Healthy` are \
         there while a grant is held. The reason is a word to match on; the message says step, cause, remedy and, where \
         something is tried again, when. Providers have `Ready` alone.\n\n\
         | type | says |\n|---|---|\n",
    );
    for (kind, says) in types {
        writeln!(text, "| `{}` | {says} |", kind.as_str())?;
    }
    text.push_str(
        "\n`Ready` takes the reason of the first thing that stands in the way: tenant, spec, provider, suspension, \
         authorization, the Secret, expiry, health. Trouble that has not hurt yet, such as a refresh that failed while the \
         access token still works, is the reason of `Ready=True`.\n\n\
         ## Reasons\n\n\
         The list is closed: a reason that is not in it is never set. Events and metrics use the same words. \
         `Stalled` without a value is `True`, except while a link waits for a person, or where the API server could not be \
         asked for a Secret.\n\n\
         | reason | means | where |\n|---|---|---|\n",
    );
    for (reason, means) in Reason::ALL {
        writeln!(text, "| `{}` | {} | {} |", reason.as_str(), means.trim(), met_in(*reason))?;
    }
    settle(&doc("conditions.md"), &text)
}

/// What a program says of itself, with neither a terminal nor an environment.
fn help(program: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).args(arguments).arg("--help").env_clear().stdin(Stdio::null()).output()?;
    assert!(output.status.success(), "{program} {arguments:?} --help");
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n"))
}

#[test]
fn commands_are_documented() -> Outcome {
    let mut text = String::from("# Commands\n\n<!-- Generated from `--help` by `make crds`; edit the source. -->\n");
    let operator = env!("CARGO_BIN_EXE_integration-operator");
    let commands =
        ["run", "import", "cleanup", "crds", "providers", "providers lint", "providers test", "providers diff"];
    for command in commands.into_iter().chain(["providers apply", "probe"]) {
        let words: Vec<&str> = command.split(' ').collect();
        write!(text, "\n## integration-operator {command}\n\n```text\n{}\n```\n", help(operator, &words)?)?;
    }
    let plugin = env!("CARGO_BIN_EXE_kubectl-integration");
    for command in
        ["connect", "status", "providers", "refresh", "check", "disconnect", "adopt", "doctor", "report", "completion"]
    {
        write!(text, "\n## kubectl integration {command}\n\n```text\n{}\n```\n", help(plugin, &[command])?)?;
    }
    settle(&doc("cli.md"), &text)
}
