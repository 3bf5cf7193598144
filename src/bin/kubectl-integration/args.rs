//! The command line. Names and short forms are kubectl's own wherever kubectl has one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use integration_operator::api::ProviderKind;
use integration_operator::sensitive::Sensitive;
use jiff::SignedDuration;
use url::Url;

/// Connects projects to third-party apps, and tells how their connections are.
#[derive(Debug, Parser)]
#[command(name = "kubectl-integration", bin_name = "kubectl integration", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect an integration: ask for a link, open it in the browser and wait for the outcome.
    Connect(Box<Connect>),
    /// Tell in words how an integration is, or list several.
    Status(Status),
    /// List the apps that can be connected to, or tell one in words: its form, its callback.
    Providers(Providers),
    /// Refresh the access token now.
    Refresh(Act),
    /// Prove the credential at the provider now, and repair the published Secret.
    Check(Act),
    /// Revoke and forget what is held; the resource stays.
    Disconnect(Disconnect),
    /// Take over a grant of another life of an integration, as after a restored backup. Needs rights to Secrets in the
    /// operator's namespace.
    Adopt(Adopt),
    /// Post a message by a connection.
    Post(Box<Post>),
    /// Do something by a connection, such as creating an issue; or list what can be done.
    Call(Box<Call>),
    /// Print the access token of a connection.
    Token(Box<Token>),
    /// Look at everything that connections need here, and say what is wrong and what to do.
    ///
    /// It only reads. The exit code is 1 if a check failed.
    Doctor(Doctor),
    /// Collect what a support case needs into an archive, without secrets.
    Report(Report),
    /// Print a script that completes this command in a shell, or for kubectl.
    Completion(Completion),
    /// Print what may follow these words, as `kubectl_complete-integration` is asked for it.
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(Complete),
}

/// Which cluster, and where in it.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// Namespace; the context's own when absent.
    #[arg(short, long, global = true, help_heading = "Cluster")]
    pub(crate) namespace: Option<String>,
    /// Path of the kubeconfig file.
    #[arg(long, global = true, help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context within the kubeconfig.
    #[arg(long, global = true, help_heading = "Cluster")]
    pub(crate) context: Option<String>,
}

/// Options of `connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The integration, as project.type, such as web.slack.
    pub(crate) name: String,
    /// Print the link instead of opening it.
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// How long to wait for the person at the browser, such as 5m.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// Create the ProjectIntegration when it is missing; its tenant is that of the namespace's label.
    /// Over HTTP the operator does so by itself.
    #[expect(clippy::doc_markdown, reason = "clap prints this")]
    #[arg(long, help_heading = "Creating")]
    pub(crate) create: bool,
    /// With --create: which kind of object describes the app.
    #[arg(long, value_enum, default_value_t, help_heading = "Creating")]
    pub(crate) provider_kind: Kind,
    /// A value that the provider asks for, as name=value; with --create or --server.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair, help_heading = "Creating")]
    pub(crate) parameters: Vec<(String, String)>,

    /// The operator's HTTP API, in the place of an annotation.
    #[command(flatten)]
    pub(crate) http: OverHttp,
    /// The person of the product on whose behalf this is done.
    #[arg(long, requires = "server", help_heading = "Over HTTP")]
    pub(crate) agent_id: Option<String>,
    /// Accept that another account of the app takes the place of the connected one.
    #[arg(long, requires = "server", help_heading = "Over HTTP")]
    pub(crate) accept_account: bool,
}

/// How the operator's HTTP API is reached.
#[derive(Debug, Args)]
pub(crate) struct OverHttp {
    /// Address of the operator's HTTP API. `connect` takes an annotation in its place where it is absent.
    #[arg(long, env = "INTEGRATION_OPERATOR_URL", help_heading = "Over HTTP", value_parser = server)]
    pub(crate) server: Option<Url>,
    /// Token for the HTTP API; the kubeconfig's own when neither this nor --service-account is given.
    #[arg(
        long,
        env = "INTEGRATION_OPERATOR_TOKEN",
        hide_env_values = true,
        help_heading = "Over HTTP",
        value_parser = secret
    )]
    pub(crate) token: Option<Sensitive>,
    /// Ask the cluster for a token of this service account of the namespace.
    #[arg(long, conflicts_with = "token", help_heading = "Over HTTP")]
    pub(crate) service_account: Option<String>,
    /// Audience of that token.
    #[arg(long, default_value = "integration-operator", help_heading = "Over HTTP")]
    pub(crate) audience: String,
    /// Tenant; that of the resource when absent, which then has to exist.
    #[arg(long, requires = "server", help_heading = "Over HTTP")]
    pub(crate) tenant: Option<String>,
}

/// Options of `post`.
#[derive(Debug, Args)]
pub(crate) struct Post {
    /// The integration, as project.type.
    pub(crate) name: String,
    /// The text.
    pub(crate) text: Option<String>,
    /// The channel, by its id.
    #[arg(long)]
    pub(crate) channel: Option<String>,
    /// The message or thread to answer, by its id.
    #[arg(long)]
    pub(crate) thread: Option<String>,
    /// A further field of the message, as name=JSON, such as team='"19:abc"' or blocks=@blocks.json.
    #[arg(long = "set", value_name = "NAME=JSON", value_parser = pair)]
    pub(crate) fields: Vec<(String, String)>,
    /// Tells this message from others, so that the same again is not posted twice.
    #[arg(long)]
    pub(crate) idempotency_key: Option<String>,
    /// The HTTP API.
    #[command(flatten)]
    pub(crate) http: OverHttp,
}

/// Options of `call`.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The integration, as project.type.
    pub(crate) name: String,
    /// The action; all are listed when absent.
    pub(crate) action: Option<String>,
    /// Its input as JSON, or @file, or @- for standard input.
    #[arg(long, default_value = "{}")]
    pub(crate) input: String,
    /// Tells this call from others, where the app can.
    #[arg(long)]
    pub(crate) idempotency_key: Option<String>,
    /// The HTTP API.
    #[command(flatten)]
    pub(crate) http: OverHttp,
}

/// Options of `token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The integration, as project.type.
    pub(crate) name: String,
    /// The form; the token alone when absent.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<DoctorOutput>,
    /// The HTTP API.
    #[command(flatten)]
    pub(crate) http: OverHttp,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The integration, as project.type; all of the namespace when absent.
    #[arg(conflicts_with = "all_namespaces")]
    pub(crate) name: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// The form.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    /// Go on and tell every change.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// Options of `providers`.
#[derive(Debug, Args)]
pub(crate) struct Providers {
    /// The provider to tell in words; all of the cluster and of the namespace are listed when absent.
    pub(crate) name: Option<String>,
    /// The form.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<ProvidersOutput>,
}

/// Forms of `providers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProvidersOutput {
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
}

/// Options of `refresh` and `check`.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The integration, as project.type.
    pub(crate) name: String,
    /// Ask, and do not wait for it to be done.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait, such as 30s.
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Options of `disconnect`.
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// What every such request has.
    #[command(flatten)]
    pub(crate) act: Act,
    /// Do not ask back.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Namespace of the operator.
    #[arg(long, default_value = "integration-operator")]
    pub(crate) operator_namespace: String,
    /// The form.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<DoctorOutput>,
}

/// Forms of `doctor` and `token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorOutput {
    /// All of it as JSON.
    Json,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The integration, as project.type; all of the namespace when absent.
    pub(crate) name: Option<String>,
    /// Where the archive goes, a tar.gz; standard output for -. A new file in this folder when absent.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Namespace of the operator.
    #[arg(long, default_value = "integration-operator")]
    pub(crate) operator_namespace: String,
    /// Lines of each log.
    #[arg(long, default_value_t = 2000)]
    pub(crate) tail: u32,
}

/// Options of `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// For what. `kubectl` is the program kubectl_complete-integration, which kubectl 1.26 and newer asks.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// What completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// `PowerShell`.
    Powershell,
    /// kubectl.
    Kubectl,
}

/// Options of `__complete`.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The words so far; the last is the one to complete.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// Options of `adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// What every such request has.
    #[command(flatten)]
    pub(crate) act: Act,
    /// The namespace in which the operator keeps its grants.
    #[arg(long, env = "INTEGRATION_OPERATOR_NAMESPACE", default_value = "integration-operator")]
    pub(crate) operator_namespace: String,
}

/// Forms of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
    /// A table with more columns.
    Wide,
}

/// Which kind of object describes the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Described once for the cluster.
    #[default]
    #[value(name = "ClusterIntegrationProvider", alias = "cluster")]
    Cluster,
    /// The tenant's own.
    #[value(name = "IntegrationProvider", alias = "tenant")]
    Tenant,
}

impl From<Kind> for ProviderKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Cluster => Self::ClusterIntegrationProvider,
            Kind::Tenant => Self::IntegrationProvider,
        }
    }
}

/// A length of time as Go writes it, such as `90s` or `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|_| "write it like 90s, 5m or 1h30m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A token goes there, so plain http is for loopback only: a port-forward, say.
fn server(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if integration_operator::config::is_loopback(&url) => Ok(url),
        _ => Err("must be https, or http on loopback".to_owned()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is clap's")]
fn secret(text: &str) -> Result<Sensitive, String> {
    Ok(Sensitive::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("-1s").is_err() && duration("soon").is_err());
    }

    #[test]
    fn tokens_do_not_travel_in_the_clear() {
        assert!(server("https://connect.example.com").is_ok());
        assert!(server("http://127.0.0.1:8080").is_ok());
        assert!(server("http://connect.example.com").is_err());
    }
}
