# Around each run of a session in a POSIX shell, which can tell of its variables, its exported ones and its directory.
# $1 is the code, $2 whether the directory is given ("here") or the last one counts.
# 8 reads what the last run has left, 9 takes what this one leaves.
__bivouac_leave() {
    __bivouac_code=$?
    trap - EXIT
    {
        set | while IFS= read -r __bivouac_line; do
            case $__bivouac_line in
            PPID=* | __bivouac_* | _=*) ;;
            *) printf '%s\n' "$__bivouac_line" ;;
            esac
        done
        export -p
        printf 'if [ "$2" = there ]; then cd -- "$PWD"; fi\n'
        printf 'umask %s\n' "$(umask)"
        printf '#whole\n'
    } >&9 2>/dev/null
    exit "$__bivouac_code"
}
[ "$2" = here ] && __bivouac_here=$PWD
. /dev/fd/8 2>/dev/null
if [ -n "$__bivouac_here" ]; then cd -- "$__bivouac_here"; fi
exec 8<&-
trap __bivouac_leave EXIT
eval "$1" 9>&-
