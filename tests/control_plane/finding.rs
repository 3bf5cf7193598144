//! Where the programs come from, with stand-ins for them: the order, the archive from a server on
//! loopback, and the build with a stand-in for Go. And what becomes of tests without a cluster.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::cluster::archive::{self, Archive};
use crate::cluster::binaries::{self, Binaries, Environment, Found, Way, ways};
use crate::cluster::{ApiRequest, Unavailable, counts, golang, require};

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let lookup = |name: &str| variables.get(name).map(OsString::from);
    Environment::from_lookup(lookup, "linux", "x86_64").unwrap()
}

#[test]
fn a_named_cluster_is_the_only_way() {
    let environment = environment(&[("HOME", "/h"), ("TEST_KUBECONFIG", "/k"), ("KUBEBUILDER_ASSETS", "/a")]);
    assert_eq!(ways(&environment), [Way::Cluster("/k".into())]);
}

#[test]
fn assets_come_before_the_cache_the_archive_and_a_build() {
    let environment = environment(&[("HOME", "/h"), ("KUBEBUILDER_ASSETS", "/a")]);
    let cache = Path::new("/h/.cache/integration-operator/controlplane");
    let built = cache.join(golang::VERSION);
    let archive = environment.archive.clone().unwrap();
    let unpacked = cache.join("envtest-v1.34.1-linux-amd64");
    assert_eq!(
        ways(&environment),
        [
            Way::Assets("/a".into()),
            Way::Built(built.clone()),
            Way::Unpacked(unpacked.clone()),
            Way::Download(archive, unpacked),
            Way::Build(built),
        ]
    );
}

#[test]
fn empty_variables_count_as_unset() {
    let environment = environment(&[("HOME", "/h"), ("TEST_KUBECONFIG", ""), ("KUBEBUILDER_ASSETS", "")]);
    assert!(matches!(ways(&environment)[0], Way::Built(_)));
}

#[test]
fn the_cache_can_be_moved() {
    let at = |variables: &[(&str, &str)]| environment(variables).cache;
    let home = ("HOME", "/h");
    assert_eq!(at(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/integration-operator/controlplane"));
    assert_eq!(
        at(&[home, ("XDG_CACHE_HOME", "/x"), ("INTEGRATION_OPERATOR_CACHE", "/c")]),
        Path::new("/c/controlplane")
    );
    Environment::from_lookup(|_| None, "linux", "x86_64").unwrap_err();
}

#[test]
fn a_platform_whose_checksum_is_unknown_has_no_archive() {
    let lookup = |name: &str| (name == "HOME").then(|| "/h".into());
    let environment = Environment::from_lookup(lookup, "linux", "aarch64").unwrap();
    assert_eq!(environment.archive, None);
    assert!(matches!(ways(&environment)[..], [Way::Built(_), Way::Build(_)]));
}

/// A folder with programs that do nothing.
fn programs(folder: &Path, names: &[&str]) {
    std::fs::create_dir_all(folder).unwrap();
    for name in names {
        let path = folder.join(name);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    }
}

/// A small archive of the real one's shape.
fn small_archive(names: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    programs(&folder.path().join("controller-tools/envtest"), names);
    let tar = Command::new("tar").args(["-czf", "-", "controller-tools"]).current_dir(&folder).output().unwrap();
    assert!(tar.status.success());
    tar.stdout
}

fn archive_at(address: &str, sha512: String) -> Archive {
    Archive {
        base_url: format!("http://{address}/releases/"),
        version: "v1".to_owned(),
        platform: "test".to_owned(),
        sha512,
        connect_timeout: Duration::from_millis(500),
    }
}

/// Serves an archive on loopback as long as the test's runtime lives.
async fn serve(bytes: Vec<u8>, sha512: String) -> Archive {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let path = "/releases/envtest-v1/envtest-v1-test.tar.gz";
    let router = Router::new().route(path, get(async || bytes));
    tokio::spawn(async { axum::serve(listener, router).await });
    archive_at(&address, sha512)
}

#[tokio::test]
async fn an_archive_is_downloaded_once() {
    let bytes = small_archive(&["etcd", "kube-apiserver", "kubectl"]);
    let sha512 = archive::sha512_hex(&bytes);
    let archive = serve(bytes, sha512).await;
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("envtest");
    assert!(archive::unpacked(&folder).is_none());

    let binaries = archive::fetch(&archive, &folder).await.unwrap();
    assert_eq!(binaries.kube_controller_manager, None);
    let mode = std::fs::metadata(&binaries.kube_apiserver).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(archive::unpacked(&folder).is_some());
    // A second process that was as fast.
    archive::fetch(&archive, &folder).await.unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "something is left beside it");
}

#[tokio::test]
async fn an_archive_with_another_checksum_is_refused() {
    let archive = serve(small_archive(&["etcd", "kube-apiserver"]), "00".repeat(64)).await;
    let cache = tempfile::tempdir().unwrap();
    let error = archive::fetch(&archive, cache.path()).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("is refused: its SHA-512 is "), "{error}");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0, "something of it was written");
}

#[tokio::test]
async fn an_archive_that_lacks_a_program_is_no_control_plane() {
    let bytes = small_archive(&["etcd"]);
    let sha512 = archive::sha512_hex(&bytes);
    let archive = serve(bytes, sha512).await;
    let cache = tempfile::tempdir().unwrap();
    let error = format!("{:#}", archive::fetch(&archive, cache.path()).await.unwrap_err());
    assert!(error.contains("there is no kube-apiserver in it"), "{error}");
    assert!(archive::unpacked(cache.path()).is_none());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_alone_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let archive = archive_at(&listener.local_addr().unwrap().to_string(), "00".repeat(64));
    let cache = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let error = archive::fetch(&archive, cache.path()).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[tokio::test]
async fn the_next_way_is_taken() {
    let cache = tempfile::tempdir().unwrap();
    let wrong = serve(small_archive(&["etcd", "kube-apiserver"]), "00".repeat(64)).await;
    let good = cache.path().join("good");
    programs(&good, &["etcd", "kube-apiserver"]);
    let ways = [
        Way::Assets(cache.path().join("empty")),
        Way::Built(cache.path().join("nothing")),
        Way::Download(wrong, cache.path().join("envtest")),
        Way::Assets(good.clone()),
    ];
    let Found::Binaries(found) = binaries::first_of(&ways).await.unwrap() else {
        panic!("there is no cluster to be found")
    };
    assert_eq!(found.etcd, good.join("etcd"));

    let error = binaries::first_of(&ways[..3]).await.unwrap_err();
    let reasons = error.downcast::<Unavailable>().unwrap().to_string();
    assert!(reasons.contains("has no etcd and no kube-apiserver"), "{reasons}");
    assert!(reasons.contains("is refused"), "{reasons}");
}

/// A stand-in for Go that notes what it builds, and fails at `failing`.
fn stand_in(folder: &Path, failing: &str) -> PathBuf {
    let go = folder.join("go");
    let notes = folder.join("notes");
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\necho \"$3\" >>{notes}\nsleep 0.1\n\
         case $3 in *{failing}) echo no such thing >&2; exit 2 ;; esac\necho program >\"$2\"\nchmod +x \"$2\"\n",
        notes = notes.display()
    );
    std::fs::write(&go, script).unwrap();
    std::fs::set_permissions(&go, PermissionsExt::from_mode(0o755)).unwrap();
    go
}

fn built_by(folder: &Path) -> Vec<String> {
    let notes = std::fs::read_to_string(folder.join("notes")).unwrap();
    notes.lines().map(|package| package.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn a_build_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let broken = stand_in(folder.path(), "kube-apiserver");
    let error = format!("{:#}", golang::build(broken.as_ref(), &cache).unwrap_err());
    assert!(error.contains("cannot build kube-apiserver"), "{error}");
    assert!(error.contains("no such thing"), "{error}");
    assert!(!golang::is_complete(&cache));

    let go = stand_in(folder.path(), "nothing");
    let binaries: Binaries = golang::build(go.as_ref(), &cache).unwrap();
    assert!(binaries.kube_controller_manager.is_some());
    assert!(golang::is_complete(&cache));
    assert_eq!(built_by(folder.path()), ["v3", "kube-apiserver", "kube-apiserver", "kube-controller-manager"]);

    // A program of another size than the one that was built is not trusted.
    std::fs::write(golang::bin(&cache).join("etcd"), "half").unwrap();
    assert!(!golang::is_complete(&cache));
    golang::build(go.as_ref(), &cache).unwrap();
    assert!(golang::is_complete(&cache));
}

#[test]
fn two_processes_build_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let go = stand_in(folder.path(), "nothing");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| golang::build(go.as_ref(), &cache).unwrap());
        }
    });
    assert_eq!(built_by(folder.path()), ["v3", "kube-apiserver", "kube-controller-manager"]);
}

#[test]
fn further_programs_are_built_by_name_and_told_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let go = stand_in(folder.path(), "nothing");
    golang::build(go.as_ref(), &cache).unwrap();
    for _ in 0..2 {
        let paths = golang::build_named(go.as_ref(), &cache, &["helm", "kubectl", "etcd"]).unwrap();
        assert!(paths.iter().all(|path| path.is_file()), "{paths:?}");
    }
    assert!(golang::is_complete(&cache));
    let expected = ["v3", "kube-apiserver", "kube-controller-manager", "helm", "kubectl"];
    assert_eq!(built_by(folder.path()), expected);
    let error = golang::build_named(go.as_ref(), &cache, &["bash"]).unwrap_err().to_string();
    assert!(error.contains("nothing here is called bash; there are etcd, "), "{error}");
}

#[test]
fn the_module_pins_the_versions() {
    let module = std::fs::read_to_string(golang::module().join("go.mod")).unwrap();
    assert!(module.contains(&format!("k8s.io/kubernetes {}\n", golang::VERSION)));
    assert!(module.contains(&format!("helm.sh/helm/v4 {}\n", golang::HELM_VERSION)));
}

#[test]
fn only_ci_insists_on_a_cluster() {
    assert!(require::must_fail(Some("true")));
    assert!(require::must_fail(Some("1")));
    assert!(!require::must_fail(Some("false")));
    assert!(!require::must_fail(None));
}

#[test]
fn counts_are_summed_over_codes() {
    let metrics = "\
# TYPE apiserver_request_total counter
apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"secrets\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"} 3
apiserver_request_total{code=\"404\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"secrets\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"} 2
apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"a.b\",resource=\"things\",scope=\"resource\",subresource=\"status\",verb=\"APPLY\",version=\"v1\"} 1
apiserver_other{verb=\"GET\"} 9
";
    let counts = counts::parse_counts(metrics);
    assert_eq!(counts.len(), 2);
    assert_eq!(counts[&ApiRequest::new("GET", "", "secrets")], 5);
    assert_eq!(counts[&ApiRequest::new("APPLY", "a.b", "things").subresource("status")], 1);
}
