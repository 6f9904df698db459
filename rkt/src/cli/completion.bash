
# Beyond verbs and flags: pods by what the verb can do to them, and images.

_rkt_pods() {
    local want=$1
    shift
    rkt "$@" list --no-legend --full 2>/dev/null |
        awk -F '\t+' -v want="$want" '$1 != "" && $5 ~ want { print $1 }'
}

_rkt_images() {
    rkt "$@" image list --no-legend --full --fields=id,name 2>/dev/null | awk '{ print $1; print $2 }'
}

_rkt_and_names() {
    _rkt "$@"
    local cur=${COMP_WORDS[COMP_CWORD]} verb='' names='' word
    local -a global=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            --dir=* | --*-config=*) global+=("$word") ;;
            -*) ;;
            *) [[ -n $verb ]] || verb=$word ;;
        esac
    done
    [[ $cur == -* ]] && return
    case $verb in
        run-prepared) names=$(_rkt_pods '^prepared$' "${global[@]}") ;;
        enter | attach | stop) names=$(_rkt_pods '^running$' "${global[@]}") ;;
        export) names=$(_rkt_pods '^exited' "${global[@]}") ;;
        rm) names=$(_rkt_pods '^(prepared|aborted|exited|broken)' "${global[@]}") ;;
        status | logs | cat-manifest) names=$(_rkt_pods '' "${global[@]}") ;;
        run | prepare | image) names=$(_rkt_images "${global[@]}") ;;
    esac
    COMPREPLY+=($(compgen -W "$names" -- "$cur"))
}

complete -F _rkt_and_names -o nosort -o bashdefault -o default rkt
