//! A container at a terminal.

use testkit::{Host, Terminal};

in_every_mode! {
    an_interactive_shell
    the_window_is_resized
    interrupt_is_the_containers
    detach_and_attach_again
    exec_at_a_terminal
    interrupt_without_input_is_the_containers
}

fn on_terminal(host: &Host, arguments: &[&str]) -> Terminal {
    let mut command = host.command();
    command.args(arguments);
    Terminal::new(&command)
}

fn an_interactive_shell(host: &Host) {
    host.busybox();
    let mut terminal = on_terminal(host, &["run", "-it", "--rm", "-e", "PS1=ready> ", "busybox", "sh"]);
    terminal.shows("ready> ");
    terminal.types("tty\n");
    terminal.shows("/dev/pts/0");
    terminal.types("echo $((6*7)) $TERM\n");
    terminal.shows("42 xterm");
    terminal.types("exit 3\n");
    assert_eq!(terminal.ends().0, 3);
    assert_eq!(host.type_in("ps -aq").ok(), "");
}

fn the_window_is_resized(host: &Host) {
    host.busybox();
    let mut terminal = on_terminal(host, &["run", "-it", "--rm", "-e", "PS1=ready> ", "busybox", "sh"]);
    terminal.shows("ready> ");
    terminal.resize(100, 40);
    // The resize travels on its own; the shell asks until it has arrived.
    terminal.types("until [ \"$(stty size)\" = '40 100' ]; do sleep 0.05; done; echo so\"it\"is\n");
    terminal.shows("soitis");
    terminal.types("exit\n");
    assert_eq!(terminal.ends().0, 0);
}

fn interrupt_is_the_containers(host: &Host) {
    host.busybox();
    let script = "trap 'echo caught; exit 11' INT; echo go; while :; do sleep 0.05; done";
    let mut terminal = on_terminal(host, &["run", "-it", "--rm", "busybox", "sh", "-c", script]);
    terminal.shows("go");
    terminal.types("\u{3}");
    terminal.shows("caught");
    assert_eq!(terminal.ends().0, 11);
}

fn interrupt_without_input_is_the_containers(host: &Host) {
    host.busybox();
    let script = "trap 'echo caught; exit 12' INT; echo go; while :; do sleep 0.05; done";
    for streams in ["-t", "--attach=stdout"] {
        let mut terminal = on_terminal(host, &["run", streams, "--rm", "busybox", "sh", "-c", script]);
        terminal.shows("go");
        terminal.types("\u{3}");
        terminal.shows("caught");
        assert_eq!(terminal.ends().0, 12, "{streams}");
    }
}

fn detach_and_attach_again(host: &Host) {
    host.busybox();
    let mut terminal =
        on_terminal(host, &["run", "-it", "--name", "kept", "-e", "PS1=ready> ", "busybox", "sh"]);
    terminal.shows("ready> ");
    terminal.types("\u{10}\u{11}");
    assert_eq!(terminal.ends().0, 0);
    assert_eq!(host.type_in("inspect -f {{.State.Running}} kept").ok(), "true");
    let mut terminal = on_terminal(host, &["attach", "kept"]);
    terminal.types("echo again\n");
    terminal.shows("again");
    terminal.types("exit 6\n");
    assert_eq!(terminal.ends().0, 6);
    host.type_in("rm kept").ok();
}

fn exec_at_a_terminal(host: &Host) {
    host.busybox();
    host.type_in("run -d --name box busybox sleep 1000").ok();
    let mut terminal = on_terminal(host, &["exec", "-it", "-e", "PS1=ready> ", "box", "sh"]);
    terminal.shows("ready> ");
    terminal.types("test -t 0 && echo terminal\n");
    terminal.shows("terminal\r\n");
    terminal.types("exit 8\n");
    assert_eq!(terminal.ends().0, 8);
}
