# Made by `sekisho completion bash`; changes belong into the tables of options.
_sekisho_own=(
    'run @any @any'
    'check @any @any ?--json'
    'status ?@jail --json'
    'banned --json'
    'events'
    'server ?@any ?start'
    'regex ?@any @file @any'
    'manual ?@any'
    'completion bash'
)
_sekisho_commands=(
    'start'
    'stop ?--keep'
    'restart'
    'restart ?--unban ?--if-exists @jail'
    'reload ?--restart ?--unban ?--all'
    'reload ?--restart ?--unban ?--if-exists @jail'
    'status'
    'status --all ?@any'
    'stats'
    'ping ?@any'
    'version'
    'echo @any'
    'help'
    'banned'
    'banned @any'
    'unban @any'
    'unban --all'
    'set @jail banip @any'
    'set @jail unbanip ?--report-absent @any'
    'set @jail attempt @any ?@any'
    'get @jail banip ?@any'
    'get @jail banned ?@any'
    'set loglevel @any'
    'get loglevel'
    'set logtarget @any'
    'get logtarget'
    'set syslogsocket auto'
    'get syslogsocket'
    'flushlogs'
    'set dbfile @file'
    'get dbfile'
    'set dbmaxmatches @any'
    'get dbmaxmatches'
    'set dbpurgeage @any'
    'get dbpurgeage'
    'add @jail @any'
    'start @jail'
    'stop @jail'
    'status @jail ?@any'
    'set @jail idle on|off'
    'set|get @jail ignoreself ?true|false'
    'set @jail addignoreip|delignoreip @any'
    'get @jail ignoreip'
    'set|get @jail ignorecommand ?@any'
    'set|get @jail ignorecache ?@any'
    'set @jail addlogpath @file ?tail'
    'set @jail dellogpath @file'
    'get @jail logpath'
    'set|get @jail logencoding ?@any'
    'set @jail addjournalmatch|deljournalmatch @any'
    'get @jail journalmatch'
    'set @jail addfailregex|addignoreregex @any'
    'set @jail delfailregex|delignoreregex @any'
    'get @jail failregex|ignoreregex|prefregex'
    'set|get @jail datepattern ?@any'
    'set|get @jail usedns ?yes|warn|no|raw'
    'set|get @jail findtime|bantime ?@any'
    'set|get @jail maxretry|maxmatches|maxlines ?@any'
    'get @jail actions'
    'set @jail addaction @any @any @any'
    'set @jail delaction @any'
    'set|get @jail action @any @any ?@any'
    'set @jail action @any @any ?@any'
    'get @jail actionproperties|actionmethods @any'
)
_sekisho_options=(
    '-c'
    '--conf'
    '-s'
    '--socket'
    '-p'
    '--pidfile'
    '--pname'
    '--loglevel'
    '--logtarget'
    '--syslogsocket'
    '-d'
    '--dp'
    '--dump-pretty'
    '-t'
    '--test'
    '-i'
    '-v'
    '-q'
    '-x'
    '-b'
    '-f'
    '--async'
    '--timeout'
    '--str2sec'
    '-h'
    '--help'
    '-V'
    '--version'
)
_sekisho_with_value=(
    '-c'
    '--conf'
    '-s'
    '--socket'
    '-p'
    '--pidfile'
    '--pname'
    '--loglevel'
    '--logtarget'
    '--syslogsocket'
    '--timeout'
    '--str2sec'
)
_sekisho_run_options=(
    '-c'
    '--conf'
    '--log'
    '-s'
    '--socket'
    '-h'
    '--help'
)
_sekisho_regex_options=(
    '--version'
    '-h'
    '--help'
    '-c'
    '--config'
    '-d'
    '--datepattern'
    '--timezone'
    '--TZ'
    '-e'
    '--encoding'
    '-r'
    '--raw'
    '--usedns'
    '-L'
    '--maxlines'
    '-m'
    '--journalmatch'
    '-l'
    '--log-level'
    '-V'
    '-v'
    '--verbose'
    '--verbosity'
    '--verbose-date'
    '--VD'
    '-D'
    '--debuggex'
    '--no-check-all'
    '-o'
    '--out'
    '-i'
    '--invert'
    '--print-no-missed'
    '--print-no-ignored'
    '--print-all-matched'
    '--print-all-missed'
    '--print-all-ignored'
    '--json'
    '-t'
    '--log-traceback'
    '--full-traceback'
)

# Offers what a pattern says may follow the words typed so far.
_sekisho_follow() { # PROGRAM PATTERN TYPED...
    local program=$1 pattern at=0 word
    read -r -a pattern <<< "$2"
    shift 2
    for word in "$@"; do
        while :; do
            local want=${pattern[at]-}
            [ -n "$want" ] || return
            at=$((at + 1))
            local bare=${want#\?}
            case $bare in
                @*) break ;;
                *) case "|$bare|" in *"|$word|"*) break ;; esac ;;
            esac
            # What may be left out has been.
            [ "$bare" != "$want" ] || return
        done
    done
    while [ -n "${pattern[at]-}" ]; do
        local next=${pattern[at]#\?}
        case $next in
            @jail) _sekisho_jails "$program" ;;
            # Files are offered by the shell itself, which knows how to quote their names.
            @*) ;;
            *) printf '%s\n' "${next//|/$'\n'}" ;;
        esac
        case ${pattern[at]} in \?*) at=$((at + 1)) ;; *) return ;; esac
    done
}

_sekisho_jails() { # PROGRAM
    "$1" "${_sekisho_server[@]}" status 2>/dev/null | sed -n 's/.*Jail list:[[:space:]]*//p' | tr -s ', ' '\n\n'
}

_sekisho() {
    local program=${COMP_WORDS[0]} name=${COMP_WORDS[0]##*/} typed=() at=1 word pattern
    local _sekisho_current=${COMP_WORDS[COMP_CWORD]} _sekisho_server=()
    COMPREPLY=()
    # The options come before the command; those of the server's place are kept for questions.
    while [ "$at" -lt "$COMP_CWORD" ]; do
        word=${COMP_WORDS[at]}
        case $word in -*) ;; *) break ;; esac
        at=$((at + 1))
        case " ${_sekisho_with_value[*]} " in
            *" $word "*)
                case $word in -c | --conf | -s | --socket) _sekisho_server+=("$word" "${COMP_WORDS[at]}") ;; esac
                [ "$at" -ne "$COMP_CWORD" ] || return
                at=$((at + 1))
                ;;
        esac
    done
    [ "$at" -ge "$COMP_CWORD" ] || typed=("${COMP_WORDS[@]:at:COMP_CWORD-at}")
    local offers
    case $name:${typed[0]-}:$_sekisho_current in
        fail2ban-regex:*:-* | sekisho:regex:-*) offers=$(printf '%s\n' "${_sekisho_regex_options[@]}") ;;
        fail2ban-regex:* | sekisho:regex:*) return ;;
        sekisho:run:-*) offers=$(printf '%s\n' "${_sekisho_run_options[@]}") ;;
        sekisho:run:*) return ;;
        *::-*) offers=$(printf '%s\n' "${_sekisho_options[@]}") ;;
        *)
            local patterns=("${_sekisho_commands[@]}")
            [ "$name" != sekisho ] || patterns+=("${_sekisho_own[@]}")
            offers=$(for pattern in "${patterns[@]}"; do
                _sekisho_follow "$program" "$pattern" "${typed[@]}"
            done | sort -u)
            ;;
    esac
    # `compgen -W` would run what stands in a word as `$(...)`.
    while IFS= read -r word; do
        case $word in
            ?*) case $word in "$_sekisho_current"*) COMPREPLY+=("$word") ;; esac ;;
        esac
    done <<< "$offers"
}

complete -o default -F _sekisho sekisho fail2ban-client fail2ban-server fail2ban-regex
