//! Docker's library for Python, which reads below HTTP where others do not.

use std::path::Path;

use testkit::{Host, Mode};

#[test]
fn dockers_library_for_python_drives_dhow() {
    let library = std::env::var("DHOW_TEST_PYTHON").expect("`cargo xtask conformance` installs the library");
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/docker_py.py");
    let socket = host.socket(0);
    let told = host
        .program("python3", &[script.to_str().expect("UTF-8"), socket.to_str().expect("UTF-8")])
        .env("PYTHONPATH", &library)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .ok();
    assert!(told.ends_with(r#"{"checks": 11}"#), "{told}");
}
