
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
