# fish completion for supervise, svall, svc, svstat, svok, svwait and svlog.  The files svall.fish, svc.fish and so on
# beside this one only read it, for fish loads a file by the name of the command.

function __supervise_services --description 'The services below ./status and $SUPERVISE_ROOT, and their groups'
    set -l folders status
    test -n "$SUPERVISE_ROOT"; and set -a folders "$SUPERVISE_ROOT/status" "$SUPERVISE_ROOT"
    for folder in $folders
        for path in $folder/*/ $folder/.*/
            string match -qr '/\.\.?/$' -- $path; and continue
            if test -e $path/status -o -e $path/ok
                set -l name (string replace -r '.*/([^/]+)/$' '$1' -- $path)
                echo $name
                test -r $path/state; or continue
                set -l groups (string match -r '^  "groups": .*' <$path/state | string match -ar '"[^"\\\\]+": \[')
                for group in (string replace -r '^"(.*)": \[$' '$1' -- $groups)
                    echo "$group:*"
                    string match -q '*:*' -- (commandline -ct); and echo "$group:$name"
                end
            end
        end
    end | sort -u
    __fish_complete_directories (commandline -ct) 'status directory'
end

function __supervise_status_dirs --description 'Status directories as paths'
    for path in status/*/
        echo $path
    end
    __fish_complete_directories (commandline -ct)
end

# The arguments before the current one that are not options; --wait takes a value.
function __supervise_given
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if test "$word" = --wait
            set skip 1
        else if not string match -q -- '-?*' $word
            echo $word
        end
    end
end

function __supervise_svc
    set -l words (commandline -opc)
    set -l given (__supervise_given)
    set -l verbs start stop restart once exit pause resume reload upgrade kill reopen
    test "$words[-1]" = --wait; and return
    if set -q words[2]; and string match -qr '^-[^-]' -- $words[2]
        __supervise_services
    else if test (count $given) = 0
        printf '%s\tverb\n' $verbs signal alarm
        __supervise_services
    else if test $given[1] = signal
        if test (count $given) = 1
            printf '%s\n' TERM KILL HUP ALRM INT QUIT USR1 USR2 WINCH
        else
            __supervise_services
        end
    else if test $given[1] = alarm
        if test (count $given) = 1
            printf '%s\n' on off
        else
            __supervise_services
        end
    else if contains -- $given[1] $verbs
        __supervise_services
    else if test (count $given) = 1
        printf '%s\tverb\n' start stop restart status exit reconf alarm
    else if test $given[2] = alarm
        printf '%s\n' on off
    end
end

# The verb of svall first, then the services that the file defines, as svall itself says; or else those that there are.
function __supervise_svall
    set -l conf
    set -l given
    set -l option
    for word in (commandline -opc)[2..-1]
        if test -n "$option"
            test "$option" = -F; and set conf -F (string replace -r '^~/' "$HOME/" -- $word)
            set option
        else if contains -- $word -F -p
            set option $word
        else if not string match -q -- '-?*' $word
            set -a given $word
        end
    end
    if test (count $given) = 0
        printf '%s\tverb\n' up down restart update status diff order run
        return
    end
    set -l names (command svall $conf order 2>/dev/null </dev/null | string split -n ' ')
    if test (count $names) = 0
        __supervise_services
    else
        printf '%s\n' $names
        set -q conf[2]; or set conf -F supervise.conf
        string match -r '^\[group:[^]]+\]' <$conf[2] | string replace -r '^\[group:(.*)\]$' '$1:*'
    end
end

complete -c svall -f -a '(__supervise_svall)'
complete -c svall -s F -r -F -d 'What defines the services'
complete -c svall -s p -x -a '(__fish_complete_directories (commandline -ct))' -d 'Where they live'
complete -c svall -l logs -d 'run: show what the services print'
complete -c svall -s h -l help -d 'A summary'
complete -c svall -l version -d 'The version'

complete -c svc -f -a '(__supervise_svc)'
complete -c svc -l wait -x -d 'At most so many seconds'
complete -c svc -l no-wait -d 'Only send the command'
complete -c svc -l help -d 'A summary'
complete -c svc -l version -d 'The version'
complete -c svc -s u -d 'Up'
complete -c svc -s d -d 'Down'
complete -c svc -s o -d 'Once'
complete -c svc -s x -d 'supervise exits when the service is down'
complete -c svc -s R -d 'Planned restart'
complete -c svc -s p -d 'Pause'
complete -c svc -s c -d 'Continue'
complete -c svc -s t -d 'TERM'
complete -c svc -s k -d 'KILL'
complete -c svc -s h -d 'HUP'
complete -c svc -s a -d 'ALRM'
complete -c svc -s i -d 'INT'
complete -c svc -s q -d 'QUIT'
complete -c svc -s 1 -d 'USR1'
complete -c svc -s 2 -d 'USR2'
complete -c svc -s w -d 'WINCH'
complete -c svc -s + -d 'What follows to the process group'
complete -c svc -s = -d 'What follows to the service alone'
complete -c svc -s s -d 'Alarms off'
complete -c svc -s n -d 'Alarms on'
complete -c svc -s r -d 'Read the configuration again'
complete -c svc -s e -d 'Replace supervise by its installed version'

for command in svstat svok svwait svlog
    complete -c $command -f -a '(__supervise_services)'
    complete -c $command -s h -l help -d 'A summary'
    complete -c $command -l version -d 'The version'
end

complete -c svstat -l long -d 'A table for people'
complete -c svstat -l json -d 'One JSON document'
complete -c svstat -l failed -d 'Only those with which something is amiss'
complete -c svstat -l watch -d 'The table, live'

complete -c svwait -s u -d 'Until they run'
complete -c svwait -s U -d 'Until they run and are ready'
complete -c svwait -s s -d 'Until they have stayed up'
complete -c svwait -s d -d 'Until they do not run'
complete -c svwait -s r -d 'Until they have been started again'
complete -c svwait -s x -d 'Until no supervise runs'
complete -c svwait -s t -x -d 'At most so many seconds'
complete -c svwait -s o -d 'Until one of them is so'

complete -c svlog -s f -d 'Go on with what is added'
complete -c svlog -s t -d 'When lines were written'
complete -c svlog -s n -x -d 'So many lines'
complete -c svlog -s e -d 'Standard error'
complete -c svlog -s s -d 'The log of supervise'

complete -c supervise -s p -x -a '(__supervise_status_dirs)' -d 'Status directory'
complete -c supervise -s f -x -a '(__fish_complete_command)' -d 'Command, as one word'
complete -c supervise -s u -x -a '(__supervise_status_dirs)' -d 'Status directory, then the command'
complete -c supervise -s F -r -d 'Configuration'
complete -c supervise -s r -r -d 'Run before each restart'
complete -c supervise -s t -x -d 'Seconds until the script counts from 1 again'
complete -c supervise -l resume -d 'Want what the last supervise wanted'
complete -c supervise -l foreground -d 'Do not become a daemon'
complete -c supervise -l exit-with-service -d 'End with the service, with its exit code'
complete -c supervise -l check -d 'Say what the configuration means'
complete -c supervise -n '__fish_contains_opt check' -f -a '(__supervise_services)'
complete -c supervise -s h -l help -d 'A summary'
complete -c supervise -s v -l version -d 'The version'
