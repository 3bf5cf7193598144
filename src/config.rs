//! The command line. Every flag is an environment variable too.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use url::{Host, Url};

use crate::command::probe::Probe;
use crate::command::providers::Providers;
use crate::shard::Shard;

/// Connects projects to third-party apps and keeps their tokens alive.
#[derive(Debug, Parser)]
#[command(name = "integration-operator", version, about, long_about = None, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator: the HTTP server on every replica, the controllers on the one that holds the lease.
    Run(Box<Run>),
    /// Print the custom resource definitions as YAML.
    Crds,
    /// List the built-in descriptions of apps, tell one in words, or check a description of your own.
    Providers(Providers),
    /// Make integrations and grants of the rows of a table `project_integrations`, with no new consent.
    Import(Import),
    /// Take the finalizers off every integration, so that an uninstall leaves nothing stuck.
    Cleanup(Cleanup),
    /// Ask a running operator whether it is ready, and whether its API asks for a token; exits with 1 where not.
    Probe(Probe),
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The rows, as CSV with a head line or as JSON lines; `-` for standard input.
    #[arg(long, env = "IMPORT_FILE")]
    pub file: PathBuf,
    /// Say what would be done, and do nothing.
    #[arg(long, env = "DRY_RUN")]
    pub dry_run: bool,
    /// Put what the rows hold in the place of grants that are there already. A refresh token that was used since is lost.
    #[arg(long, env = "REPLACE")]
    pub replace: bool,
    /// The namespace in which the operator keeps its grants.
    #[arg(long, env = "NAMESPACE", default_value = "integration-operator")]
    pub namespace: String,
    /// Callbacks are told of nobody, so any address will do.
    #[arg(long, env = "PUBLIC_URL", default_value = "https://localhost", hide = true)]
    pub public_url: Url,
    /// Namespaces of tenants, where the operator watches only some; all when empty.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    #[command(flatten)]
    /// How grants are sealed.
    pub sealing: Sealing,
    #[command(flatten)]
    /// How providers are reached, for those whose endpoints are discovered.
    pub egress: Egress,
}

/// Options of `cleanup`.
#[derive(Debug, Args)]
pub struct Cleanup {
    /// The namespace in which the operator keeps its grants.
    #[arg(long, env = "NAMESPACE", default_value = "integration-operator")]
    pub namespace: String,
    /// Namespaces of tenants to clean up; all when empty.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// The operator's own Deployment, which is scaled to nothing first: while it runs, it puts finalizers back on.
    #[arg(long, env = "STOP_DEPLOYMENT", value_name = "NAME")]
    pub stop_deployment: Option<String>,
    /// Revoke every grant at its provider first.
    #[arg(long, env = "REVOKE")]
    pub revoke: bool,
    #[command(flatten)]
    /// How grants are sealed.
    pub sealing: Sealing,
    #[command(flatten)]
    /// How providers are reached.
    pub egress: Egress,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Address under which people and apps reach this operator: https, or http on loopback.
    #[arg(long, env = "PUBLIC_URL", value_parser = public_url, help_heading = "Addresses")]
    pub public_url: Url,
    /// Frontend that a browser returns to after connecting; may be given several times, the first is the default.
    /// Without one the operator shows a page of its own.
    #[arg(long = "frontend-url", env = "FRONTEND_URL", value_delimiter = ',', help_heading = "Addresses")]
    pub frontend_urls: Vec<Url>,
    /// Where people and apps are served.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080", help_heading = "Addresses")]
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    #[arg(long, env = "METRICS_LISTEN", default_value = "0.0.0.0:9090", help_heading = "Addresses")]
    pub metrics_listen: SocketAddr,
    /// Proxies (networks) whose X-Forwarded-For is believed.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', help_heading = "Addresses")]
    pub trusted_proxies: Vec<IpNet>,

    /// Namespace in which the operator keeps grants and attempts; its own.
    #[arg(long, env = "NAMESPACE", default_value = "integration-operator", help_heading = "Cluster")]
    pub namespace: String,
    /// Namespaces of tenants to watch; all when empty.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', help_heading = "Cluster")]
    pub watch_namespaces: Vec<String>,
    /// Reconcile only integrations whose label `integrations.tms.dev/shard` is this name; `default` means those without
    /// the label. All when empty.
    #[arg(
        long,
        env = "SHARD",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME",
        help_heading = "Cluster"
    )]
    pub shard: Shard,
    /// Reconcile only while holding a Lease; needed with more than one replica.
    #[arg(
        long,
        env = "LEADER_ELECT",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        help_heading = "Cluster"
    )]
    pub leader_elect: bool,
    /// This replica's identity: the uid of its Pod, so that a restart in place takes the Lease up at once.
    /// A random one when empty.
    #[arg(long, env = "POD_UID", default_value = "", hide_default_value = true, help_heading = "Cluster")]
    pub identity: String,

    /// Audience that callers' tokens must be made for.
    #[arg(long, env = "API_AUDIENCE", default_value = "integration-operator", help_heading = "Security")]
    pub api_audience: String,
    /// Also accept tokens made for the API server itself, except those of service accounts.
    #[arg(long, env = "ACCEPT_API_SERVER_AUDIENCE", help_heading = "Security")]
    pub accept_api_server_audience: bool,
    /// How it is made sure that who starts a flow finishes it.
    #[arg(long, env = "INITIATOR_CHECK", value_enum, default_value_t, help_heading = "Security")]
    pub initiator_check: InitiatorCheck,
    /// Actions, messages and requests by proxy that one integration may make in a minute, on each replica.
    #[arg(long, env = "ACTIONS_PER_MINUTE", default_value = "600", help_heading = "Limits")]
    pub actions_per_minute: NonZeroU32,
    /// What becomes of those beyond that.
    #[arg(long, env = "ACTION_LIMIT", value_enum, default_value_t, help_heading = "Limits")]
    pub action_limit: ActionLimit,
    /// Sealing what is held.
    #[command(flatten)]
    pub sealing: Sealing,
    /// Reaching providers.
    #[command(flatten)]
    pub egress: Egress,

    /// Form of the log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t, help_heading = "Logs")]
    pub log_format: LogFormat,
    /// What is logged, such as `info` or `integration_operator=debug,kube=warn`.
    #[arg(long, env = "LOG", default_value = "info", help_heading = "Logs")]
    pub log: String,
    /// File that says what is logged, in the place of --log and in the same words. It is looked at every few seconds;
    /// while it is missing or cannot be understood, what was said before stays.
    #[arg(long, env = "LOG_DIRECTIVES_FILE", help_heading = "Logs")]
    pub log_directives_file: Option<PathBuf>,
    /// Collector that traces are sent to, by OTLP over HTTP, such as `http://collector.monitoring:4318`; none when
    /// missing.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector, help_heading = "Traces")]
    pub otlp_endpoint: Option<Url>,
}

/// How grants are sealed.
#[derive(Clone, Debug, Default, Args)]
pub struct Sealing {
    /// File of the keys that grants and attempts are encrypted with (AES-256-GCM), for clusters without encryption at
    /// rest: a line for each, as name:base64 of 32 bytes. The first is written with, all are read with. The file is read
    /// again when it changes.
    #[arg(long, env = "GRANT_KEY_FILE", help_heading = "Security")]
    pub grant_key_file: Option<PathBuf>,
}

/// How providers are reached.
#[derive(Clone, Debug, Default, Args)]
pub struct Egress {
    /// Hosts of providers that may be plain http and lie in private networks, loopback included. For tests.
    #[arg(long, env = "ALLOW_INSECURE_PROVIDER_HOSTS", value_delimiter = ',', help_heading = "Security")]
    pub allow_insecure_provider_hosts: Vec<String>,
    /// The cluster's own networks (Pods and Services), which providers must never resolve to.
    #[arg(long, env = "CLUSTER_NETWORKS", value_delimiter = ',', help_heading = "Security")]
    pub cluster_networks: Vec<IpNet>,
    /// Further certificate authorities (PEM) that providers' certificates may be signed by.
    #[arg(long, env = "CA_BUNDLE", help_heading = "Security")]
    pub ca_bundle: Option<PathBuf>,
    /// Requests a second to one provider's host.
    #[arg(long, env = "PROVIDER_REQUESTS_PER_SECOND", default_value_t = 20, help_heading = "Limits")]
    pub provider_requests_per_second: u32,
}

/// How it is made sure that who starts a flow finishes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum InitiatorCheck {
    /// A browser that did not call install itself sees who asks for what, and goes on by a click.
    #[default]
    Click,
    /// The caller of install confirms the connection before the code is used.
    Confirm,
    /// Nothing is checked.
    None,
}

/// What becomes of actions beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ActionLimit {
    /// They are answered with 429.
    #[default]
    Enforce,
    /// They are counted, and let through.
    Observe,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether a public address is of the machine itself, where http is safe.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// https anywhere, http on loopback only: the cookie that binds a flow to its browser would be readable otherwise.
fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("must have no user, query or fragment".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("http is for loopback only; use https, by an Ingress for example".to_owned()),
        _ => Err("must be an https address".to_owned()),
    }
}

/// An address that `/v1/traces` can be added to.
fn collector(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err("must be an http or https address without query, and the port that takes OTLP over HTTP".to_owned()),
    }
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
    fn every_flag_is_an_environment_variable() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| ["run", "cleanup", "import"].contains(&command.get_name()))
        {
            for argument in command.get_arguments() {
                assert!(argument.get_env().is_some(), "--{:?} has no variable", argument.get_long());
            }
        }
    }

    #[test]
    fn plain_http_is_for_loopback() {
        assert!(public_url("https://connect.example.com").is_ok());
        assert!(public_url("http://127.0.0.1:8080").is_ok());
        assert!(public_url("http://localhost:8080").is_ok());
        for bad in ["http://example.com", "ftp://example.com", "https://u@example.com", "https://example.com/?a", "x"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }
}
