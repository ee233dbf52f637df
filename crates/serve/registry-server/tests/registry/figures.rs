//! Figures for Prometheus.

use crate::client::{send, world};
use tokio::net::TcpListener;

#[tokio::test]
async fn figures_are_counted() {
    let world = world().await;
    world.push_image("a", "v1", b"layer").await;
    assert_eq!(world.get("/v2/a/manifests/v1").await.status, 200);
    assert_eq!(world.get("/v2/a/manifests/v2").await.status, 404);
    assert_eq!(world.send("BREW\"", "/nothing", &[], b"").await.status, 400);
    assert_eq!(world.send("BREW", "/nothing", &[], b"").await.status, 404);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(registry_server::serve_figures(world.served.registry.clone(), listener));
    let answer = send(address, "GET", "/metrics", &[], b"").await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    for line in [
        "dhow_registry_requests_total{end_point=\"manifest\",method=\"GET\",status=\"200\"} 1",
        "dhow_registry_requests_total{end_point=\"manifest\",method=\"GET\",status=\"404\"} 1",
        "dhow_registry_requests_total{end_point=\"manifest\",method=\"PUT\",status=\"201\"} 1",
        "dhow_registry_requests_total{end_point=\"uploads\",method=\"POST\",status=\"201\"} 2",
        "dhow_registry_requests_total{end_point=\"unknown\",method=\"other\",status=\"404\"} 1",
        "dhow_registry_request_seconds_count{end_point=\"manifest\"} 3",
        "dhow_registry_uploads 0",
        "# TYPE dhow_registry_request_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(send(address, "GET", "/v2/", &[], b"").await.status, 404, "nothing else is there");
    assert_eq!(world.get("/metrics").await.status, 404, "and it is nowhere else");
}
