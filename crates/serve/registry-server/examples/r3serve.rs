//! Scratch.
fn main() {
    sys::daemon::share_pools();
    let _ = sys::daemon::raise_files();
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let mut args = std::env::args().skip(4);
            let addr = args.next().unwrap();
            let root = args.nth(1).unwrap();
            let registry = std::sync::Arc::new(
                registry_server::Registry::open(registry_server::Config::new(root)).await.unwrap(),
            );
            let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
            registry_server::serve(registry, listener, std::future::pending()).await;
        });
}
