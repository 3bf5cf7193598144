//! Completion: scripts for shells, and the words that may follow, for kubectl.
//!
//! The scripts are clap's and complete commands and flags. kubectl (1.26 and newer) asks the program
//! `kubectl_complete-integration` instead, a script that calls `__complete`; that knows names in the cluster as well.
//! What it answers is in the form of Cobra: a word a line, with a tab before its description, and a directive at the end.

use std::io::Write as _;
use std::time::Duration;

use clap::{Command, CommandFactory as _};
use clap_complete::generate;
use integration_operator::api::{ClusterIntegrationProvider, IntegrationProvider, ProjectIntegration};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use crate::args::{self, Cli, Shell};
use crate::cluster::Cluster;
use crate::failure::Failure;

/// What kubectl asks.
const FOR_KUBECTL: &str = include_str!("../../../plugins/kubectl_complete-integration");
/// The program, as shells call it.
const PROGRAM: &str = "kubectl-integration";
/// A person waits for the key that they pressed.
const PATIENCE: Duration = Duration::from_secs(3);
/// Names that are offered at most.
const MOST: u32 = 200;

/// Prints a script.
pub(crate) fn script(shell: Shell) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Powershell => clap_complete::Shell::PowerShell,
        Shell::Kubectl => return print(FOR_KUBECTL.as_bytes()),
    };
    print(&generated(shell))
}

fn generated(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    // clap makes one name of `bin_name`, and a shell completes the program as it is called.
    generate(shell, &mut Cli::command().bin_name(PROGRAM), PROGRAM, &mut script);
    script
}

fn print(script: &[u8]) -> Result<(), Failure> {
    std::io::stdout().write_all(script).map_err(|source| Failure::Local { what: "write the script", source })
}

/// What may stand in the place of the last word.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// One of these, with a description.
    Words(Vec<(String, String)>),
    /// The name of an integration.
    Integration,
    /// The name of a provider.
    Provider,
    /// The name of a namespace.
    Namespace,
    /// A file.
    File,
    /// Something that only the person knows.
    Anything,
}

/// Prints what may follow. Silent about every failure: there is no place for an error in the middle of a line.
pub(crate) async fn words(words: &[String]) {
    let (wanted, cluster) = wanted(words);
    let last = words.last().map(String::as_str).unwrap_or_default();
    let files = wanted == Wanted::File;
    let offered = match wanted {
        Wanted::Words(words) => words,
        Wanted::File | Wanted::Anything => Vec::new(),
        kind => {
            let found = tokio::time::timeout(PATIENCE, names(&kind, &cluster)).await.unwrap_or_default();
            found.into_iter().map(|name| (name, String::new())).collect()
        }
    };
    for (word, about) in offered.iter().filter(|(word, _)| word.starts_with(last)) {
        if about.is_empty() { println!("{word}") } else { println!("{word}\t{about}") }
    }
    // 0: files as the shell does; 4: no files.
    println!(":{}", if files { 0 } else { 4 });
}

async fn names(wanted: &Wanted, args: &args::Cluster) -> Vec<String> {
    let Ok(cluster) = Cluster::open(args).await else { return Vec::new() };
    match wanted {
        Wanted::Integration => some(Api::<ProjectIntegration>::namespaced(cluster.client, &cluster.namespace)).await,
        Wanted::Namespace => some(Api::<Namespace>::all(cluster.client)).await,
        Wanted::Provider => {
            let own = Api::<IntegrationProvider>::namespaced(cluster.client.clone(), &cluster.namespace);
            let mut names = some(Api::<ClusterIntegrationProvider>::all(cluster.client)).await;
            names.extend(some(own).await);
            names.sort();
            names.dedup();
            names
        }
        Wanted::Words(_) | Wanted::File | Wanted::Anything => Vec::new(),
    }
}

async fn some<K>(api: Api<K>) -> Vec<String>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let list = api.list_metadata(&ListParams::default().limit(MOST)).await;
    list.map(|list| list.items.iter().map(ResourceExt::name_any).collect()).unwrap_or_default()
}

/// What the last word may be, and which cluster the words before it name.
fn wanted(words: &[String]) -> (Wanted, args::Cluster) {
    let mut cli = Cli::command();
    cli.build();
    let mut command = &cli;
    let mut cluster = args::Cluster { namespace: None, kubeconfig: None, context: None };
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut names = 0;
    let mut before = before.iter();
    while let Some(word) = before.next() {
        let (flag, attached) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if let Some(argument) = option(command, flag) {
            if argument.get_action().takes_values() {
                let Some(value) = attached.or_else(|| before.next().cloned()) else {
                    return (value_of(argument), cluster);
                };
                note(&mut cluster, argument.get_id().as_str(), value);
            }
        } else if let Some(next) = command.find_subcommand(word) {
            command = next;
        } else if !word.starts_with('-') {
            names += 1;
        }
    }
    let wanted = if last.starts_with('-') {
        Wanted::Words(flags(command))
    } else if command.has_subcommands() {
        Wanted::Words(commands(command))
    } else {
        command.get_positionals().nth(names).map_or(Wanted::Anything, |argument| match argument.get_id().as_str() {
            "name" if command.get_name() == "providers" => Wanted::Provider,
            "name" => Wanted::Integration,
            _ => value_of(argument),
        })
    };
    (wanted, cluster)
}

fn option<'a>(command: &'a Command, word: &str) -> Option<&'a clap::Arg> {
    command.get_arguments().find(|argument| match word.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => word.strip_prefix('-').is_some_and(|short| {
            argument.get_short().is_some_and(|letter| short.len() == 1 && short.starts_with(letter))
        }),
    })
}

fn note(cluster: &mut args::Cluster, id: &str, value: String) {
    match id {
        "namespace" => cluster.namespace = Some(value),
        "kubeconfig" => cluster.kubeconfig = Some(value.into()),
        "context" => cluster.context = Some(value),
        _ => {}
    }
}

fn value_of(argument: &clap::Arg) -> Wanted {
    let values = argument.get_possible_values();
    if !values.is_empty() {
        let about =
            |value: &clap::builder::PossibleValue| value.get_help().map(ToString::to_string).unwrap_or_default();
        return Wanted::Words(values.iter().map(|value| (value.get_name().to_owned(), about(value))).collect());
    }
    match argument.get_id().as_str() {
        "namespace" | "operator_namespace" => Wanted::Namespace,
        "kubeconfig" | "output" => Wanted::File,
        _ => Wanted::Anything,
    }
}

fn commands(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    shown.map(|one| (one.get_name().to_owned(), first_line(one.get_about()))).collect()
}

fn flags(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|one| !one.is_hide_set());
    shown.filter_map(|one| Some((format!("--{}", one.get_long()?), first_line(one.get_help())))).collect()
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> (Wanted, args::Cluster) {
        wanted(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn words_of(line: &str) -> Vec<String> {
        match asked(line).0 {
            Wanted::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn commands_flags_and_values() {
        let commands = words_of("st");
        assert!(
            commands.contains(&"status".to_owned()) && !commands.contains(&"__complete".to_owned()),
            "{commands:?}"
        );
        assert!(words_of("status --").contains(&"--all-namespaces".to_owned()));
        assert!(words_of("status --").contains(&"--context".to_owned()));
        assert_eq!(words_of("status -o "), ["json", "yaml", "wide"]);
        assert!(words_of("completion ").contains(&"kubectl".to_owned()));
    }

    #[test]
    fn names_are_of_the_namespace_that_was_named() {
        let (wanted, cluster) = asked("status -n acme --context=other we");
        assert_eq!(wanted, Wanted::Integration);
        assert_eq!((cluster.namespace.as_deref(), cluster.context.as_deref()), (Some("acme"), Some("other")));
        assert_eq!(asked("providers sl").0, Wanted::Provider);
        assert_eq!(asked("status -n ").0, Wanted::Namespace);
        assert_eq!(asked("report -o ").0, Wanted::File);
        assert_eq!(asked("status web.slack ").0, Wanted::Anything);
    }

    #[test]
    fn scripts_name_the_program() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let text = String::from_utf8(generated(shell)).unwrap();
            assert!(text.contains("kubectl-integration") && text.contains("disconnect"), "{shell}");
        }
        assert!(FOR_KUBECTL.contains("kubectl-integration __complete -- \"$@\""));
    }
}
