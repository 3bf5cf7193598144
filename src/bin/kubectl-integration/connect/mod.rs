//! `connect`: a link is asked for and opened, and the outcome awaited; by annotation, or over the operator's HTTP API.

mod annotation;
mod browser;
mod create;
pub(crate) mod http;
mod loopback;
pub(crate) mod outcome;
pub(crate) mod target;
pub(crate) mod token;

use crate::args::Connect;
use crate::cluster::Cluster;
use crate::failure::Failure;

/// Connects an integration.
pub(crate) async fn run(cluster: &Cluster, args: &Connect) -> Result<(), Failure> {
    if let Some(server) = &args.http.server {
        return http::run(cluster, args, server).await;
    }
    if args.create {
        create::ensure(cluster, args).await?;
    } else if !args.parameters.is_empty() {
        return Err(Failure::refused("--param needs --create or --server; otherwise set spec.parameters"));
    }
    annotation::run(cluster, args).await
}
