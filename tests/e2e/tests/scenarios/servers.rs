//! Real servers from Debian's packages.

use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::{Host, Mode, eventually};

fn answers(address: &str, request: &[u8], words: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 4096];
    stream.write_all(request).is_ok()
        && stream
            .read(&mut answer)
            .is_ok_and(|length| String::from_utf8_lossy(&answer[..length]).contains(words))
}

#[test]
fn nginx_is_served_through_a_published_port() {
    let host = Host::new(Mode::Embedded);
    host.services();
    host.file("ctx/index.html", "<h1>From a container</h1>\n");
    host.file(
        "ctx/Dockerfile",
        "FROM services\nCOPY index.html /var/www/html/\nEXPOSE 80\nSTOPSIGNAL SIGQUIT\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n",
    );
    host.dhow(&["build", "-t", "web", "ctx"]).ok();
    host.type_in("run -d --name web -p 8080:80 --restart unless-stopped web").ok();
    eventually("nginx answers", || answers("127.0.0.1:8080", b"GET / HTTP/1.0\r\n\r\n", "200 OK"));
    host.type_in("stop web").ok();
    assert_eq!(host.type_in("inspect -f {{.State.ExitCode}} web").ok(), "0");
}

#[test]
fn postgresql_keeps_its_data_over_rm() {
    let host = Host::new(Mode::Embedded);
    host.services();
    host.file(
        "ctx/Dockerfile",
        "FROM services\nENV PATH=/usr/lib/postgresql/15/bin:$PATH\n\
         RUN mkdir -p /data /run/postgresql && chown postgres:postgres /data /run/postgresql\nUSER postgres\nVOLUME /data\n\
         CMD [\"sh\", \"-c\", \"test -s /data/PG_VERSION || initdb -D /data -A trust >/dev/null; exec postgres -D /data -c listen_addresses=\"]\n",
    );
    let dockerfile = std::fs::read_to_string(host.home().join("ctx/Dockerfile")).unwrap();
    host.file("ctx/Dockerfile", dockerfile.replace("listen_addresses=\"]", "listen_addresses=''\"]"));
    host.dhow(&["build", "-t", "pg", "ctx"]).ok();
    let start = |name: &str| {
        host.dhow(&["run", "-d", "--name", name, "-v", "pgdata:/data", "--shm-size", "128m", "pg"]).ok();
        eventually("PostgreSQL answers", || host.dhow(&["exec", name, "pg_isready", "-q"]).run().code == 0);
    };
    start("first");
    host.dhow(&["exec", "first", "psql", "-qc", "create table kept (x int); insert into kept values (42)"])
        .ok();
    host.type_in("stop first").ok();
    host.type_in("rm first").ok();
    start("second");
    assert_eq!(host.dhow(&["exec", "second", "psql", "-Atqc", "select x from kept"]).ok(), "42");
    host.type_in("rm -f second").ok();
}

#[test]
fn redis_answers_its_neighbour() {
    let host = Host::new(Mode::Embedded);
    host.services();
    host.dhow(&[
        "run",
        "-d",
        "--name",
        "redis",
        "services",
        "redis-server",
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
    ])
    .ok();
    let address = host.dhow(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "redis"]).ok();
    eventually("Redis answers", || {
        host.dhow(&["run", "--rm", "services", "redis-cli", "-h", &address, "ping"]).run().stdout == "PONG\n"
    });
}

#[test]
fn an_application_is_built_in_stages_and_watched() {
    let host = Host::new(Mode::Embedded);
    host.services();
    host.file(
        "ctx/app.py",
        "import os, socket, words\n\
         server = socket.create_server(('0.0.0.0', 8000))\n\
         while True:\n    \
             client, _ = server.accept()\n    \
             client.recv(4096)\n    \
             client.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n%s %d' % (words.SAID, os.getuid()))\n    \
             client.close()\n",
    );
    host.file("ctx/words.txt", "from a stage\n");
    host.file(
        "ctx/Dockerfile",
        "# Stage 1: what is made once\nFROM services AS build\nWORKDIR /build\nCOPY words.txt .\n\
         RUN --mount=type=cache,target=/cache echo again >> /cache/log && \\\n    \
             echo \"SAID = b'$(cat words.txt)'\" > words.py && wc -l < /cache/log > runs\n\n\
         # Stage 2: what is served\nFROM services\nRUN useradd -m -u 1234 web\nWORKDIR /srv/app\n\
         COPY --from=build --chown=web:web /build/words.py /build/runs ./\nCOPY --chown=web:web app.py .\nUSER web\nEXPOSE 8000\n\
         HEALTHCHECK --interval=100ms --timeout=5s --start-period=30s \\\n  \
         CMD python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8000)).send(b'x')\"\n\
         CMD [\"python3\", \"app.py\"]\n",
    );
    host.dhow(&["build", "-t", "app", "ctx"]).ok();
    host.type_in("run -d --name app -p 8000:8000 app").ok();
    let healthy = || host.type_in("inspect -f {{.State.Health.Status}} app").ok() == "healthy";
    eventually("the application is healthy", healthy);
    assert!(answers("127.0.0.1:8000", b"GET / HTTP/1.0\r\n\r\n", "200 OK\r\n\r\nfrom a stage 1234"));
    host.type_in("rm -f app").ok();
    // Another run of the same step finds what the first left in the cache.
    host.file("ctx/words.txt", "anew\n");
    host.dhow(&["build", "-t", "app", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm --network none app cat runs words.py").ok(), "2\nSAID = b'anew'");
}
