//! Which integration is meant: tenant, project and type, for paths of the HTTP API.

use crate::args::OverHttp;
use crate::cluster::Cluster;
use crate::failure::Failure;

/// Tenant, project and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The tenant.
    pub(crate) tenant: String,
    /// The project.
    pub(crate) project: String,
    /// The app.
    pub(crate) type_: String,
}

impl Target {
    /// From `--tenant` and the name, which needs no rights in the cluster; otherwise from the resource.
    pub(crate) async fn find(cluster: &Cluster, name: &str, args: &OverHttp) -> Result<Self, Failure> {
        let (project, type_) = project_and_type(name)?;
        let tenant = match &args.tenant {
            Some(tenant) => tenant.clone(),
            None => cluster.integration(name).await?.spec.tenant_id,
        };
        Ok(Self { tenant, project: project.to_owned(), type_: type_.to_owned() })
    }
}

/// Takes a name apart: both halves are DNS labels, so that there is exactly one dot.
pub(crate) fn project_and_type(name: &str) -> Result<(&str, &str), Failure> {
    match name.split_once('.') {
        Some((project, type_)) if !project.is_empty() && !type_.is_empty() && !type_.contains('.') => {
            Ok((project, type_))
        }
        _ => {
            Err(Failure::refused(format!("{name} is no name of an integration; write project.type, such as web.slack")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_dot() {
        assert!(matches!(project_and_type("web.slack"), Ok(("web", "slack"))));
        for bad in ["slack", "web.", ".slack", "a.b.c", ""] {
            assert!(project_and_type(bad).is_err(), "{bad}");
        }
    }
}
