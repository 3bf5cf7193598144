//! The sandbox as a program: `cargo run --example sandbox -- --listen 127.0.0.1:9400 --rotation strict`.

#[path = "mod.rs"]
mod sandbox;

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

use sandbox::{Consent, OldAccessToken, Rotation, Sandbox, SandboxOptions};

/// A small strict OAuth 2.0 authorization server for tests and demonstrations.
#[derive(Parser)]
#[allow(clippy::struct_excessive_bools)] // independent switches, as flags are
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// The URL by which others reach it, when it is not the address it listens on
    #[arg(long)]
    public_url: Option<String>,
    #[arg(long, default_value = "sandbox-client")]
    client_id: String,
    /// Empty for a public client
    #[arg(long, default_value = "sandbox-secret")]
    client_secret: String,
    /// An accepted redirect URI, exactly; may be repeated. Without any, every URI on loopback is
    #[arg(long)]
    redirect_uri: Vec<String>,
    /// Seconds; 0 means tokens that never expire and cannot be refreshed
    #[arg(long, default_value_t = 3600)]
    access_token_lifetime: u32,
    /// Seconds a refresh token may lie unused; without it, for ever
    #[arg(long)]
    refresh_token_lifetime: Option<u32>,
    #[arg(long, value_enum, default_value_t = RotationName::Strict)]
    rotation: RotationName,
    /// Seconds in which a rotated refresh token is forgiven, with `--rotation grace`
    #[arg(long, default_value_t = 60)]
    grace: u32,
    /// Access tokens die when their grant is refreshed
    #[arg(long)]
    old_access_token_dies: bool,
    /// Serve no introspection endpoint
    #[arg(long)]
    no_introspection: bool,
    /// Accept authorization requests without PKCE
    #[arg(long)]
    pkce_optional: bool,
    /// Grant at once, without a page
    #[arg(long)]
    auto_consent: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum RotationName {
    None,
    Grace,
    Lenient,
    Strict,
}

impl From<Arguments> for SandboxOptions {
    fn from(arguments: Arguments) -> Self {
        Self {
            listen: arguments.listen,
            public_url: arguments.public_url,
            client_id: arguments.client_id,
            client_secret: arguments.client_secret,
            redirect_uris: arguments.redirect_uri,
            pkce_required: !arguments.pkce_optional,
            consent: if arguments.auto_consent { Consent::Allow(None) } else { Consent::Ask },
            access_token_lifetime: Some(arguments.access_token_lifetime).filter(|seconds| *seconds > 0),
            refresh_token_lifetime: arguments.refresh_token_lifetime,
            rotation: match arguments.rotation {
                RotationName::None => Rotation::None,
                RotationName::Grace => Rotation::Grace { seconds: arguments.grace },
                RotationName::Lenient => Rotation::Lenient,
                RotationName::Strict => Rotation::Strict,
            },
            old_access_token: if arguments.old_access_token_dies {
                OldAccessToken::Dies
            } else {
                OldAccessToken::Lives
            },
            introspection: !arguments.no_introspection,
            ..Self::default()
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.listen.ip().is_loopback(), "the sandbox listens on loopback only");
    let sandbox = Sandbox::try_start(arguments.into())?;
    eprintln!("sandbox at {} (its ledger: {}/_sandbox/ledger)", sandbox.base_url, sandbox.base_url);
    tokio::signal::ctrl_c().await?;
    Ok(())
}
