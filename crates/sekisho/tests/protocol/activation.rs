//! Socket activation: the listening socket comes from whoever starts the server, as systemd does it.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use sekisho_oracle::{Fail2ban, PYTHON, has_python};

use crate::client::Client;
use crate::script::TREE;
use crate::site::{Server, Site, soon, words};

/// Opens the socket, gives it away as the descriptor after 3 and more, and becomes the server.
const LAUNCHER: &str = r#"
import os, socket, sys
path, names, program = sys.argv[1], sys.argv[2], sys.argv[3:]
os.umask(0o177)
sockets = []
for name in names.split(':'):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(path if name in ('fail2ban', 'first') else path + '.' + name)
    made.listen(5)
    sockets.append(made)
high = [os.dup2(made.fileno(), 20 + at) for at, made in enumerate(sockets)]
for at, number in enumerate(high):
    os.dup2(number, 3 + at)
    os.set_inheritable(3 + at, True)
os.closerange(20, 30)
os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
print('listening', flush=True)
os.execv(program[0], program)
"#;

struct Launched {
    server: Server,
    site: Site,
    child: Child,
}

impl Launched {
    fn new(server: &Server, names: &str) -> Launched {
        let site = Site::new(TREE, Client::Ours);
        let mut command = Command::new(PYTHON);
        command.args(["-c", LAUNCHER]).arg(site.path("socket")).arg(names);
        match server {
            Server::Ours => command.arg(env!("CARGO_BIN_EXE_fail2ban-server")),
            Server::Theirs(fail2ban) => command
                .env("PYTHONPATH", &fail2ban.modules)
                .arg(PYTHON)
                .arg(fail2ban.programs.join("fail2ban-server")),
        };
        command.arg("-c").arg(site.path("conf")).args(["-xf", "start"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Launched { server: server.clone(), site, child }
    }

    /// A client that comes before the server does waits, and is answered.
    fn is_answered_while_it_starts(&mut self) {
        let connect = || UnixStream::connect(self.site.path("socket"));
        assert!(soon(5, connect, Result::is_ok).is_ok(), "nobody listens");
        let said = self.site.run(&words("ping"), "");
        assert_eq!((said.code, said.out.as_str()), (0, "Server replied: pong\n"), "{said:?}");
    }

    fn stop(&mut self) {
        let said = self.site.run(&words("stop"), "");
        assert_eq!((said.code, said.out.as_str()), (0, "Shutdown successful\n"), "{said:?}");
        let code = self.child.wait().unwrap().code();
        // On a busy machine fail2ban now and then ends with an error.
        assert!(code == Some(0) || matches!(self.server, Server::Theirs(_)), "{code:?}");
        // It belongs to whoever opened it, and is needed for the next start.
        assert!(self.site.path("socket").exists());
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn play(server: &Server) {
    for names in ["fail2ban", "other:fail2ban", "first:other"] {
        let mut launched = Launched::new(server, names);
        launched.is_answered_while_it_starts();
        launched.site.until(&words("status"), "Jail list:\tmail, web").unwrap();
        launched.stop();
    }
}

#[test]
fn a_server_takes_the_socket_it_is_given() {
    if has_python() {
        play(&Server::Ours);
    }
}

#[test]
fn fail2ban_takes_the_socket_it_is_given() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&Server::Theirs(fail2ban));
    }
}

#[test]
fn actions_do_not_inherit_the_socket() {
    if !has_python() {
        return;
    }
    let mut launched = Launched::new(&Server::Ours, "fail2ban");
    launched.is_answered_while_it_starts();
    let site = &mut launched.site;
    site.until(&words("status"), "web").unwrap();
    let list = "set web action note actionban";
    let mut command = words(list);
    command.push("ls -l /proc/self/fd > {dir}/open; echo done >> {dir}/open".into());
    assert_eq!(site.run(&command, "").code, 0);
    site.run(&words("set web banip 192.0.2.1"), "");
    site.until_file("open", "done");
    assert!(!site.read("open").contains("socket:"), "{}", site.read("open"));
    launched.stop();
}
