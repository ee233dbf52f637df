"""What users of Docker's library for Python rely on. Usage: docker_py.py SOCKET; the image busybox must be there."""

import io
import json
import sys
import tarfile
import threading

import docker
from docker.errors import APIError, BuildError, ContainerError, ImageLoadError, ImageNotFound, NotFound

client = docker.DockerClient(base_url=f"unix://{sys.argv[1]}", timeout=60)
SLEEP = ["sleep", "1000"]


def refused(error, status, call, *arguments, **named):
    """The call fails with this exception and status; its words."""
    try:
        call(*arguments, **named)
    except error as failure:
        assert failure.response.status_code == status, failure
        return failure.explanation
    raise AssertionError(f"{call} did not fail")


def archive(name, contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(contents)
        tar.addfile(entry, io.BytesIO(contents))
    return buffer.getvalue()


def run_tells_output_and_failure():
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    try:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
        raise AssertionError("exit code 3 went unnoticed")
    except ContainerError as failure:
        assert (failure.exit_status, failure.stderr) == (3, b"no\n"), failure
    refused(ImageNotFound, 404, client.api.create_container, "no-such-image")


def exec_output_is_whole():
    """The library reads the answer's head through a buffer and goes on below it: nothing may come together with it."""
    container = client.containers.run("busybox", SLEEP, detach=True)
    for number in range(30):
        result = container.exec_run(["echo", str(number)])
        assert (result.exit_code, result.output) == (0, f"{number}\n".encode()), (number, result)
    both = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert (both.exit_code, both.output) == (5, (b"out\n", b"err\n")), both
    # The start says nothing of the terminal: output comes in frames all the same.
    exec_id = client.api.exec_create(container.id, ["sh", "-c", "echo out; tty"], tty=True)
    assert client.api.exec_start(exec_id) == b"out\r\n/dev/pts/0\r\n"
    exec_id = client.api.exec_create(container.id, ["cat"], stdin=True)
    socket = client.api.exec_start(exec_id, socket=True)._sock
    socket.sendall(b"typed\n")
    header = socket.recv(8, 0x100)
    assert header == b"\x01\0\0\0\0\0\0\x06" and socket.recv(6, 0x100) == b"typed\n", header
    socket.close()
    # 126 of older engines.
    assert container.exec_run(["no-such-program"]).exit_code in (126, 127)
    container.remove(force=True)


def attach_tells_what_was_and_what_comes():
    container = client.containers.create("busybox", ["cat"], stdin_open=True)
    socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})._sock
    container.start()
    socket.sendall(b"through\n")
    assert socket.recv(8, 0x100)[7] == 8 and socket.recv(8, 0x100) == b"through\n"
    socket.close()
    container.kill()
    state = client.api.inspect_container(container.id)["State"]
    assert (state["Running"], state["ExitCode"]) == (False, 137), state
    assert container.attach(stream=False, logs=True) == b"through\n"
    assert container.logs() == b"through\n"
    container.remove()
    refused(NotFound, 404, client.containers.get, container.id)


def logs_follow_to_the_end():
    script = "for n in 1 2 3; do echo $n; done; sleep 0.2; echo 4"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n4\n"
    assert container.logs(tail=1) == b"4\n"
    assert container.wait()["StatusCode"] == 0
    container.remove()


def a_health_check_may_leave_fields_out():
    container = client.containers.run(
        "busybox", SLEEP, detach=True, healthcheck={"test": ["CMD", "true"], "interval": 100_000_000}
    )
    events = client.events(filters={"event": "health_status", "container": container.id}, since=0, decode=True)
    assert next(events)["Action"] == "health_status: healthy"
    events.close()
    container.reload()
    assert container.attrs["State"]["Health"]["Status"] == "healthy"
    container.remove(force=True)


def files_come_and_go():
    container = client.containers.create("busybox", SLEEP)
    assert container.put_archive("/tmp", archive("file", b"contents"))
    chunks, stat = container.get_archive("/tmp/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        assert tar.extractfile("file").read() == b"contents"
    assert (stat["name"], stat["size"]) == ("file", 8), stat
    assert {"Path": "/tmp/file", "Kind": 1} in container.diff()
    image = container.commit("committed", changes=["LABEL a=b"])
    assert image.labels == {"a": "b"}
    client.images.remove("committed")
    container.remove()


def builds_speak_dockers_words():
    def build(dockerfile):
        return client.images.build(fileobj=io.BytesIO(dockerfile), tag="built", forcerm=True, nocache=True)

    image, log = build(b"FROM busybox\nRUN echo red >&2\nCMD echo built\n")
    log = list(log)
    assert {"stream": "\x1b[91mred\n\x1b[0m"} in log, log
    assert log[-1] == {"stream": "Successfully tagged built:latest\n"}, log
    assert client.containers.run(image, remove=True) == b"built\n"
    client.images.remove("built")
    try:
        build(b"FROM busybox\nRUN exit 4\n")
        raise AssertionError("the build did not fail")
    except BuildError as failure:
        assert "The command '/bin/sh -c exit 4' returned a non-zero code: 4" in str(failure), failure


def archives_of_images_load():
    image = client.images.get("busybox")
    data = b"".join(image.save(named=True))
    assert client.images.load(data)[0].id == image.id
    try:
        client.images.load(b"no archive")
        raise AssertionError("nonsense was loaded")
    except ImageLoadError:
        pass


def networks_keep_what_was_asked():
    pool = docker.types.IPAMPool(
        subnet="10.91.0.0/24", iprange="10.91.0.0/30", gateway="10.91.0.1", aux_addresses={"router": "10.91.0.2"}
    )
    network = client.networks.create("a name", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    ipam = client.api.inspect_network("a name")["IPAM"]
    assert ipam["Options"] is None and ipam["Config"][0]["AuxiliaryAddresses"] == {"router": "10.91.0.2"}, ipam
    container = client.containers.run("busybox", SLEEP, detach=True, network="a name")
    container.reload()
    address = container.attrs["NetworkSettings"]["Networks"]["a name"]["IPAddress"]
    assert address == "10.91.0.3", address
    network.disconnect(container)
    network.connect(container, aliases=["alias"])
    refused(APIError, 403, network.remove)
    container.remove(force=True)
    network.remove()


def volumes_keep_data():
    volume = client.volumes.create("data", labels={"a": "b"})
    bind = {"data": {"bind": "/data", "mode": "rw"}}
    client.containers.run("busybox", ["sh", "-c", "echo kept > /data/f"], volumes=bind, remove=True)
    assert client.containers.run("busybox", ["cat", "/data/f"], volumes=bind, remove=True) == b"kept\n"
    assert [found.name for found in client.volumes.list(filters={"label": "a=b"})] == ["data"]
    volume.remove()


def events_and_figures_stream():
    seen = []
    events = client.events(decode=True, filters={"type": "container", "event": ["start", "die"]})
    reader = threading.Thread(target=lambda: [seen.append(event) for _, event in zip(range(2), events)], daemon=True)
    reader.start()
    container = client.containers.run("busybox", SLEEP, detach=True)
    assert next(container.stats(decode=True, stream=True))["memory_stats"]["usage"] > 0
    assert container.stats(stream=False)["name"] == f"/{container.name}"
    assert container.top()["Processes"][0][-1] == "sleep 1000"
    container.stop(timeout=0)
    reader.join(20)
    assert [event["Action"] for event in seen] == ["start", "die"], seen
    container.remove()
    assert client.containers.prune()["ContainersDeleted"] is None


CHECKS = [
    run_tells_output_and_failure,
    exec_output_is_whole,
    attach_tells_what_was_and_what_comes,
    logs_follow_to_the_end,
    a_health_check_may_leave_fields_out,
    files_come_and_go,
    builds_speak_dockers_words,
    archives_of_images_load,
    networks_keep_what_was_asked,
    volumes_keep_data,
    events_and_figures_stream,
]

for check in CHECKS:
    print(check.__name__.replace("_", " "), flush=True)
    check()
print(json.dumps({"checks": len(CHECKS)}))
