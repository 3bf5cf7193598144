//! Several integrations as a table.

use integration_operator::api::{ConditionType, ProjectIntegration};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::condition;
use crate::paint::Paint;
use crate::words::{age, expiry, printable};

/// Which columns there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// The namespace, first.
    pub(crate) namespace: bool,
    /// Provider, Secret and message, last.
    pub(crate) wide: bool,
}

impl Columns {
    fn names(self) -> Vec<&'static str> {
        let mut names = vec!["NAME", "TENANT", "READY", "REASON", "EXPIRES", "AGE"];
        if self.namespace {
            names.insert(0, "NAMESPACE");
        }
        if self.wide {
            names.extend(["PROVIDER", "SECRET", "MESSAGE"]);
        }
        names
    }
}

/// How wide columns are, by name.
#[derive(Clone, Debug)]
pub(crate) struct Widths(Vec<(&'static str, usize)>);

impl Widths {
    /// For rows that are not known yet.
    pub(crate) fn usual() -> Self {
        let usual = [("NAMESPACE", 16), ("NAME", 24), ("TENANT", 16), ("READY", 7), ("REASON", 23), ("EXPIRES", 7)];
        Self(usual.into_iter().chain([("AGE", 4), ("PROVIDER", 26), ("SECRET", 24)]).collect())
    }

    fn fitting(names: &[&'static str], rows: &[Vec<String>]) -> Self {
        let width = |(index, name): (usize, &&'static str)| {
            let widest = rows.iter().map(|row| row[index].chars().count()).max().unwrap_or_default();
            (*name, widest.max(name.len()))
        };
        Self(names.iter().enumerate().map(width).collect())
    }

    fn of(&self, name: &str) -> usize {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, width)| *width)
    }
}

/// The whole table, columns as wide as they need to be.
pub(crate) fn table(integrations: &[ProjectIntegration], columns: Columns, now: Timestamp, paint: Paint) -> String {
    let rows: Vec<_> = integrations.iter().map(|integration| cells(integration, columns, now)).collect();
    let widths = Widths::fitting(&columns.names(), &rows);
    let lines = rows.iter().map(|row| line(row, columns, &widths, paint));
    std::iter::once(header(columns, &widths, paint)).chain(lines).collect()
}

/// The line with the names of the columns.
pub(crate) fn header(columns: Columns, widths: &Widths, paint: Paint) -> String {
    let names: Vec<_> = columns.names().into_iter().map(str::to_owned).collect();
    paint.strong(line(&names, columns, widths, Paint::Plain).trim_end()) + "\n"
}

/// One line.
pub(crate) fn row(
    integration: &ProjectIntegration,
    columns: Columns,
    widths: &Widths,
    now: Timestamp,
    paint: Paint,
) -> String {
    line(&cells(integration, columns, now), columns, widths, paint)
}

fn line(cells: &[String], columns: Columns, widths: &Widths, paint: Paint) -> String {
    let padded = cells.iter().zip(columns.names()).map(|(cell, name)| {
        let width = widths.of(name);
        let padded = format!("{cell:<width$}");
        match (name, cell.as_str()) {
            ("READY", "True") => paint.good(&padded),
            ("READY", "False") => paint.bad(&padded),
            ("READY", _) => paint.unsure(&padded),
            _ => padded,
        }
    });
    let line = padded.collect::<Vec<_>>().join("   ");
    format!("{}\n", line.trim_end())
}

fn cells(integration: &ProjectIntegration, columns: Columns, now: Timestamp) -> Vec<String> {
    let status = integration.status.as_ref();
    let ready = condition(integration, ConditionType::Ready);
    let token = status.and_then(|status| status.token.as_ref());
    let created = integration.creation_timestamp();
    let mut cells = vec![
        integration.name_any(),
        integration.spec.tenant_id.clone(),
        ready.map_or_else(|| "Unknown".to_owned(), |ready| ready.status.clone()),
        ready.map_or_else(|| "-".to_owned(), |ready| ready.reason.clone()),
        token.map_or_else(|| "-".to_owned(), |token| expiry(token.expires_at.as_deref(), now)),
        created.map_or_else(|| "-".to_owned(), |created| age(created.0, now)),
    ];
    if columns.namespace {
        cells.insert(0, integration.namespace().unwrap_or_default());
    }
    if columns.wide {
        cells.push(format!("{:?}", integration.spec.provider_kind));
        cells.push(token.and_then(|token| token.secret_name.clone()).unwrap_or_else(|| "-".to_owned()));
        cells.push(ready.map(|ready| printable(&ready.message)).unwrap_or_default());
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [sample::connected(), sample::unauthorized(), sample::fresh()];
        let columns = Columns { namespace: false, wide: false };
        let expected = "\
NAME        TENANT   READY     REASON                  EXPIRES   AGE
web.slack   acme     True      Connected               42m       3d
web.slack   acme     False     AuthorizationRequired   -         3d
web.slack   acme     Unknown   -                       -         3d
";
        assert_eq!(table(&rows, columns, sample::now(), Paint::Plain), expected);
    }

    #[test]
    fn namespaces_and_messages_are_columns_on_request() {
        let columns = Columns { namespace: true, wide: true };
        let text = table(&[sample::unauthorized()], columns, sample::now(), Paint::Plain);
        assert!(text.starts_with("NAMESPACE   NAME"), "{text}");
        assert!(text.ends_with("Nobody has authorized this integration yet\n"), "{text}");
    }
}
