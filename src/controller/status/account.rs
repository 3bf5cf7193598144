//! What is told of the account: its scopes, what has changed since it was connected, and what is still to be chosen.

use super::Facts;
use crate::api::Reason;
use crate::api::condition::{ConditionType, Observed};
use crate::api::project_integration::{ChoiceOptionStatus, ChoiceStatus, ProjectIntegrationStatus};
use crate::grant::{Grant, GrantView};

/// Options that a message lists; `status.choices` has more.
const LISTED: usize = 10;
/// Scopes that a message lists.
const LISTED_SCOPES: usize = 20;

/// Scopes that were not granted, or are wanted by now.
pub(super) fn scopes(facts: &Facts<'_>, grant: &GrantView) -> Option<Observed> {
    let situation = facts.situation;
    let (name, app) = (&situation.name, app(facts));
    let missing = &grant.summary.missing_scopes;
    let no = |message| Some(Observed::no(ConditionType::Authorized, Reason::ScopesInsufficient, message));
    if !missing.is_empty() {
        return no(format!(
            "{app} did not grant {}. Connect again and allow them: kubectl integration connect {name}. If they are not asked \
             for there, the app's own configuration lacks them. Until then what was granted is used.",
            list(missing)
        ));
    }
    let added = situation.added_scopes();
    if !added.is_empty() {
        return no(format!(
            "{} were added to the scopes since this was connected. Connect again to consent: kubectl integration connect \
             {name}. Until then the old grant is used.",
            list(&added)
        ));
    }
    None
}

/// Why nothing is sent any more.
pub(super) fn provider_changed(facts: &Facts<'_>) -> String {
    let changes = facts.situation.changes();
    let name = &facts.situation.name;
    if changes == ["the client id changed"] {
        return format!(
            "The client id changed: connect again (kubectl integration connect {name}). Nothing is sent until then."
        );
    }
    let what = if changes.is_empty() {
        "the provider, its client or its endpoints are not those that this was connected with".to_owned()
    } else {
        format!("since this was connected, {}", changes.join(", and "))
    };
    format!(
        "Nothing is sent to the app, for {what}. Change it back, or connect again: kubectl integration connect {name}"
    )
}

/// What there is to choose from: the grant's own where its data was read, else what was told before.
pub(super) fn choices(
    grant: &GrantView,
    held: Option<&Grant>,
    standing: &ProjectIntegrationStatus,
) -> Vec<ChoiceStatus> {
    let Some(parameter) = &grant.summary.choice else { return vec![] };
    match held.and_then(|held| held.account.choice.as_ref()) {
        Some(choice) => {
            let option = |option: &crate::provider::lookup::ChoiceOption| ChoiceOptionStatus {
                value: option.value.clone(),
                title: option.title.clone(),
            };
            let options = choice.options.iter().map(option).collect();
            vec![ChoiceStatus { parameter: parameter.clone(), options }]
        }
        None => standing.choices.iter().filter(|choice| choice.parameter == *parameter).cloned().collect(),
    }
}

/// Which site or account the connection is about, where that is not known: reason, message, and whether only a person
/// helps.
pub(super) fn undecided(facts: &Facts<'_>, choices: &[ChoiceStatus]) -> Option<(Reason, String, bool)> {
    let grant = facts.situation.grant.as_ref()?;
    if let Some(parameter) = &grant.summary.choice {
        let options = choices.iter().find(|choice| choice.parameter == *parameter).map(|choice| &*choice.options);
        return Some((Reason::ChoiceRequired, to_choose(facts, parameter, options.unwrap_or_default()), true));
    }
    let asks = facts.situation.served().is_some_and(|(_, connection)| !connection.provider().lookups.is_empty());
    if grant.summary.described.is_some() || !asks {
        return None;
    }
    let cause = facts.memory.account.as_ref().map(|trouble| format!(": {}", trouble.cause)).unwrap_or_default();
    let message = format!("{} has not said yet which account this is{cause}. It is asked again.", app(facts));
    Some((Reason::AccountUnknown, message, false))
}

fn to_choose(facts: &Facts<'_>, parameter: &str, options: &[ChoiceOptionStatus]) -> String {
    let (app, situation) = (app(facts), facts.situation);
    if options.is_empty() {
        return format!(
            "The account at {app} has none that could be chosen as {parameter}: make one there, or give the account access to \
             one, and have it asked again: kubectl integration check {}",
            situation.name
        );
    }
    let one = |option: &ChoiceOptionStatus| match &option.title {
        Some(title) => format!("{} ({title})", option.value),
        None => option.value.clone(),
    };
    let listed: Vec<String> = options.iter().take(LISTED).map(one).collect();
    let more = match options.len().saturating_sub(LISTED) {
        0 => "",
        _ => ", and more in status.choices",
    };
    let given = situation.integration.spec.parameters.get(parameter);
    let wrong = given.map(|_| format!("spec.parameters.{parameter} names none of them. ")).unwrap_or_default();
    format!(
        "{wrong}Choose {parameter}, one of {}{more}: kubectl patch projectintegration {} -n {} --type merge -p \
         '{{\"spec\":{{\"parameters\":{{\"{parameter}\":\"…\"}}}}}}'. No new consent is needed.",
        listed.join(", "),
        situation.name,
        situation.namespace
    )
}

fn app<'a>(facts: &'a Facts<'_>) -> &'a str {
    facts.situation.served().map_or("the app", |(_, connection)| &connection.provider().display_name)
}

fn list(scopes: &[String]) -> String {
    let listed: Vec<&str> = scopes.iter().take(LISTED_SCOPES).map(String::as_str).collect();
    let more = if scopes.len() > LISTED_SCOPES { " and others" } else { "" };
    format!("{}{more}", listed.join(", "))
}
