//! Clients: fail2ban's own, and ours.

use std::path::Path;
use std::process::Command;

use sekisho_oracle::{Fail2ban, Python, fed};
use serde_json::json;

/// What a client said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub code: i64,
    pub out: String,
    pub err: String,
}

/// A program that takes the command line of `fail2ban-client`.
pub enum Client {
    Ours,
    Theirs(Box<Theirs>),
}

/// fail2ban's client in a process that has its modules loaded already and forks for every call:
/// what runs is Debian's code from the command line to the exit code, in a tenth of the time.
pub struct Theirs {
    python: Python,
    program: String,
}

const FORKS: &str = r#"
import io, json, os, sys, tempfile
import fail2ban.client.fail2banclient as client
import fail2ban.client.fail2banserver, fail2ban.client.beautifier, fail2ban.client.csocket
import fail2ban.client.configurator, fail2ban.client.jailsreader
answers = os.fdopen(os.dup(1), 'w')
for line in sys.stdin:
    job = json.loads(line)
    files = [tempfile.TemporaryFile() for _ in range(3)]
    files[0].write(job['input'].encode())
    files[0].seek(0)
    pid = os.fork()
    if pid == 0:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        os.closerange(3, 64)
        sys.stdin = open(0, encoding='utf-8')
        sys.stdout = open(1, 'w', encoding='utf-8')
        sys.stderr = open(2, 'w', encoding='utf-8', buffering=1)
        sys.argv = job['argv']
        sys.path[0] = os.path.dirname(sys.argv[0])
        code = 1
        try:
            client.exec_command_line(sys.argv)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            stream.closed or stream.flush()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    said = []
    for file in files[1:]:
        file.seek(0)
        said.append(file.read().decode('utf-8', 'replace'))
    answers.write(json.dumps([os.waitstatus_to_exitcode(status)] + said) + '\n')
    answers.flush()
"#;

impl Client {
    pub fn theirs(fail2ban: &Fail2ban) -> Client {
        let program = fail2ban.programs.join("fail2ban-client").to_str().unwrap().to_owned();
        let python = Python::start(fail2ban.python(), FORKS, &[]);
        Client::Theirs(Box::new(Theirs { python, program }))
    }

    /// Runs `fail2ban-client -c CONF args` with `input` as its standard input.
    pub fn run(&mut self, conf: &Path, args: &[String], input: &str) -> Said {
        let conf = ["-c", conf.to_str().unwrap()].map(str::to_owned);
        match self {
            Client::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_fail2ban-client"));
                let output = fed(command.args(conf).args(args), input.as_bytes());
                Said {
                    code: output.status.code().unwrap_or(-1).into(),
                    out: String::from_utf8_lossy(&output.stdout).into_owned(),
                    err: String::from_utf8_lossy(&output.stderr).into_owned(),
                }
            }
            Client::Theirs(theirs) => {
                let argv: Vec<&str> = std::iter::once(theirs.program.as_str())
                    .chain(conf.iter().chain(args).map(String::as_str))
                    .collect();
                let answer = theirs.python.ask(&json!({"argv": argv, "input": input}));
                let text = |at: usize| answer[at].as_str().unwrap().to_owned();
                Said { code: answer[0].as_i64().unwrap(), out: text(1), err: text(2) }
            }
        }
    }
}
