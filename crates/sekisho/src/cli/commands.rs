//! The commands that the usage text and the manual page list.
//!
//! Only help: the server decides what a command means, and knows some that are not listed here.

/// One row of the list.
#[derive(Clone, Copy, Debug)]
pub enum CommandHelp {
    /// A heading.
    Title(&'static str),
    /// A command and what it does.
    Command(&'static str, &'static str),
}

use CommandHelp::{Command as C, Title as T};

/// All commands.
pub const COMMANDS: &[CommandHelp] = &[
    T("SERVER"),
    C("start", "start the server and all enabled jails"),
    C(
        "stop [--keep]",
        "stop all jails and end the server; --keep leaves in the firewall what is banned, for a start that follows at once",
    ),
    C("restart", "stop and start the server; who is banned stays so meanwhile"),
    C(
        "restart [--unban] [--if-exists] <JAIL>",
        "restart one jail with its configuration read anew",
    ),
    C(
        "reload [--restart] [--unban] [--all]",
        "read the configuration anew and change what differs; --restart restarts the jails, --unban lifts their bans",
    ),
    C("reload [--restart] [--unban] [--if-exists] <JAIL>", "the same for one jail"),
    C("status", "list the jails"),
    C("status --all [FLAVOR]", "the state of every jail"),
    C("stats", "counters of all jails as a table (also: statistics, statistic)"),
    C("ping [TIMEOUT]", "ask whether the server answers"),
    C("version", "the server's version"),
    C("echo <TEXT>...", "have the server return a text"),
    C("help", "print this text (under the name sekisho, and after -i)"),
    T("BANS"),
    C("banned", "which jail has banned whom"),
    C("banned <IP>...", "the jails that have banned these addresses"),
    C("unban <IP>...", "lift the bans of these addresses in all jails, and forget them"),
    C("unban --all", "lift all bans"),
    C("set <JAIL> banip <IP>...", "ban addresses by hand"),
    C(
        "set <JAIL> unbanip [--report-absent] <IP>...",
        "lift bans in one jail; --report-absent makes a missing one an error",
    ),
    C("set <JAIL> attempt <IP> [<TEXT>...]", "count a failure by hand"),
    C("get <JAIL> banip [<SEPARATOR>|--with-time]", "the banned addresses, soonest end first"),
    C(
        "get <JAIL> banned [<IP>...]",
        "the banned addresses as a list, or 1 or 0 for each one given",
    ),
    T("LOGGING"),
    C(
        "set loglevel <LEVEL>",
        "CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACEDEBUG, HEAVYDEBUG, or a number from 50 to 5",
    ),
    C("get loglevel", "the level"),
    C(
        "set logtarget <TARGET>",
        "a file, STDOUT, STDERR, SYSLOG, SYSOUT or SYSTEMD-JOURNAL, with options in brackets",
    ),
    C("get logtarget", "the target"),
    C("set syslogsocket auto|<FILE>", "the socket of the system log"),
    C("get syslogsocket", "that socket"),
    C("flushlogs", "open the log file anew, after a rotation"),
    T("DATABASE"),
    C("set dbfile <FILE>", "the database file; None for none"),
    C("get dbfile", "that file"),
    C("set dbmaxmatches <N>", "matched lines kept with a ban"),
    C("get dbmaxmatches", "that number"),
    C("set dbpurgeage <TIME>", "how long past bans are remembered"),
    C("get dbpurgeage", "that time in seconds"),
    T("JAILS"),
    C("add <JAIL> <BACKEND>", "create a jail"),
    C("start <JAIL>", "start a jail"),
    C("stop <JAIL>", "stop a jail and remove it"),
    C("status <JAIL> [FLAVOR]", "the state of a jail; flavors: basic, short, stats, cymru"),
    C("set <JAIL> idle on|off", "pause a jail"),
    C("set|get <JAIL> ignoreself [true|false]", "whether this machine's own addresses are ignored"),
    C("set <JAIL> addignoreip|delignoreip <IP>", "change whom the jail ignores"),
    C("get <JAIL> ignoreip", "whom it ignores"),
    C("set|get <JAIL> ignorecommand [COMMAND]", "a command that decides whom to ignore"),
    C("set|get <JAIL> ignorecache [SETTING]", "how its answers are remembered"),
    C("set <JAIL> addlogpath <FILE> [tail]", "watch one more file, from its start or its end"),
    C("set <JAIL> dellogpath <FILE>", "stop watching a file"),
    C("get <JAIL> logpath", "the watched files"),
    C("set|get <JAIL> logencoding [ENCODING]", "the encoding of the files"),
    C(
        "set <JAIL> addjournalmatch|deljournalmatch <MATCH>",
        "change which journal entries are read",
    ),
    C("get <JAIL> journalmatch", "which ones those are"),
    C("set <JAIL> addfailregex|addignoreregex <REGEX>", "add a pattern"),
    C("set <JAIL> delfailregex|delignoreregex <INDEX>", "remove the pattern of that number"),
    C("get <JAIL> failregex|ignoreregex|prefregex", "the patterns"),
    C("set|get <JAIL> datepattern [PATTERN]", "how dates are written"),
    C("set|get <JAIL> usedns [yes|warn|no|raw]", "what happens to host names"),
    C("set|get <JAIL> findtime|bantime [TIME]", "for how long failures count, and bans last"),
    C(
        "set|get <JAIL> maxretry|maxmatches|maxlines [N]",
        "failures before a ban, lines kept with it, lines matched at once",
    ),
    T("ACTIONS"),
    C("get <JAIL> actions", "the jail's actions"),
    C("set <JAIL> addaction <ACTION> [<FILE> <JSON>]", "add an action"),
    C("set <JAIL> delaction <ACTION>", "stop and remove an action"),
    C(
        "set|get <JAIL> action <ACTION> <PROPERTY> [VALUE]",
        "a property of an action: actionstart, actionstop, actioncheck, actionban, actionunban, timeout, ...",
    ),
    C("set <JAIL> action <ACTION> <METHOD> [JSON]", "call a method of an action"),
    C("get <JAIL> actionproperties|actionmethods <ACTION>", "what an action has"),
];

/// What only `sekisho` knows.
pub const OWN_COMMANDS: &[CommandHelp] = &[
    T("SEKISHO"),
    C(
        "run [-c DIR]",
        "guard with the configuration this machine has, or the built-in one; without root, watch and report",
    ),
    C(
        "check [-c DIR] [--json]",
        "say what would change if sekisho took the place of this machine's fail2ban; changes nothing",
    ),
    C("status [<JAIL>] --json", "the state of the jails, or of one, as JSON; also: stats --json"),
    C("banned --json", "who is banned, with jail and times, as JSON"),
    C(
        "events",
        "print what happens from now on, one JSON object per line, until the server ends: found, ignored, banned, restored, prolonged, not_enforced, unbanned, repealed (the jail stops, the database keeps the ban), started, stopped; a reader that is too slow is told how many were dropped",
    ),
    C("server [OPTIONS] [start]", "the same as fail2ban-server"),
    C("regex [OPTIONS] <LOG> <REGEX>", "the same as fail2ban-regex"),
    C("manual [PROGRAM]", "print the manual page of a program in roff"),
    C("completion bash", "print the completion of all programs for a shell"),
];
