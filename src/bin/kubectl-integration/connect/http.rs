//! Connecting over the operator's HTTP API, with the browser coming back to this machine.

pub(crate) mod api;

use integration_operator::sensitive::Sensitive;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::browser;
use super::loopback::{Loopback, Return};
use super::outcome::account;
use super::target::Target;
use super::token;
use crate::args::Connect;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::request::PACE;
use crate::words::span;
use api::{Api, Integration};

/// Asks for a link, opens it, and takes the browser back.
pub(crate) async fn run(cluster: &Cluster, args: &Connect, server: &Url) -> Result<(), Failure> {
    let target = Target::find(cluster, &args.name, &args.http).await?;
    let api = Api::new(server, token::find(cluster, &args.http).await?, target)?;
    let before = api.get().await?.and_then(|integration| integration.installed_at());
    let mut loopback = Loopback::listen().await?;
    let deadline = Instant::now() + args.timeout;
    let url = api.install(args.agent_id.as_deref(), &loopback.return_to, &args.parameters).await?;
    browser::open(url.expose(), args.no_browser).await;
    let back = timeout_at(deadline, loopback.wait()).await.ok().flatten().ok_or_else(|| late(args))?;
    match ending(&api.target.type_, back)? {
        Ending::Success => {}
        Ending::Pending => println!("the app takes its time; waiting"),
        Ending::Confirm(confirmation) => {
            api.confirm(&confirmation, args.agent_id.as_deref(), args.accept_account).await?;
        }
    }
    println!("{}", connected(&api, before.as_deref(), deadline, args).await?);
    Ok(())
}

/// Waits until the API tells of a new installation.
async fn connected(api: &Api, before: Option<&str>, deadline: Instant, args: &Connect) -> Result<String, Failure> {
    loop {
        if let Some(integration) = api.get().await?
            && is_new(&integration, before)
        {
            let target = &api.target;
            let account = account(&integration.account());
            return Ok(format!("connected project {} to {}{account}", target.project, target.type_));
        }
        if Instant::now() >= deadline {
            return Err(late(args));
        }
        sleep(PACE).await;
    }
}

fn is_new(integration: &Integration, before: Option<&str>) -> bool {
    let installed = integration.installed_at();
    installed.is_some() && installed.as_deref() != before
}

fn late(args: &Connect) -> Failure {
    Failure::refused(format!("nobody finished within {}; connect again", span(args.timeout)))
}

/// How the browser came back, where it did not fail.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Success,
    Pending,
    Confirm(Sensitive),
}

fn ending(type_: &str, back: Return) -> Result<Ending, Failure> {
    if let Some(error) = back.error {
        return Err(Failure::refused(format!("not connected: {}", words(type_, &error))));
    }
    match (back.status.as_deref(), back.confirmation) {
        (Some("success"), _) => Ok(Ending::Success),
        (Some("pending"), _) => Ok(Ending::Pending),
        (Some("confirm"), Some(confirmation)) => Ok(Ending::Confirm(Sensitive::new(confirmation))),
        _ => Err(Failure::refused("not connected: the browser came back without an answer")),
    }
}

/// The words of `?error=`, for a person.
fn words(type_: &str, error: &str) -> String {
    let words = match error {
        "missing_code" | "missing_state" => "the app sent the browser back without what was asked for",
        "invalid_state" => "the link was used before, ran out, or was opened in another browser; connect again",
        "token_exchange_failed" => "the app did not give a token; the operator's log and the provider's client say why",
        "storage_failed" => "the operator could not keep the token; see its log",
        "provider_error" => "the app failed before it could ask; try again later",
        "account_mismatch" => {
            "that was another account than the connected one, which is kept; \
             disconnect first, or pass --accept-account where the operator asks for a confirmation"
        }
        denied if denied == format!("{type_}_oauth_denied") => "the person, or the app, said no",
        // A word of a later operator, shown without what a terminal would obey.
        other => return other.chars().filter(char::is_ascii_graphic).take(64).collect(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(status: Option<&str>, confirmation: Option<&str>, error: Option<&str>) -> Return {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Return { status: own(status), confirmation: own(confirmation), error: own(error) }
    }

    #[test]
    fn endings() {
        assert!(matches!(ending("slack", back(Some("success"), None, None)), Ok(Ending::Success)));
        assert!(matches!(ending("slack", back(Some("pending"), None, None)), Ok(Ending::Pending)));
        assert!(matches!(ending("slack", back(Some("confirm"), Some("c"), None)), Ok(Ending::Confirm(_))));
        assert!(ending("slack", back(Some("confirm"), None, None)).is_err());
        assert!(ending("slack", back(None, None, None)).is_err());
    }

    #[test]
    fn errors_are_told_in_words() {
        let denied = ending("slack", back(None, None, Some("slack_oauth_denied"))).map_err(|error| error.to_string());
        assert_eq!(denied, Err("not connected: the person, or the app, said no".to_owned()));
        assert_eq!(words("slack", "later\x1b[31m_word"), "later[31m_word");
    }
}
