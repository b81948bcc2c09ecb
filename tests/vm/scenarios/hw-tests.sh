# about: hw-tests/run, which is for real cards, on the software chip: it passes, reports, and puts all back
# tool: yes
# files: hw-tests tests/vm
# sim: --fault slow=200
# firmware: --release 5.2.0 --size 512K
# memory: 768

card=$(card)
check_that "looking only" /repository/hw-tests/run -d "$(basename "$card")" -o /tmp/look
check "driver after looking" "$(driver "$card")" none
check_that "everything" /repository/hw-tests/run -d "$(basename "$card")" \
	--destructive --firmware /firmware --kills 5 -o /tmp/all
check "driver afterwards" "$(driver "$card")" none
grep '^pass' /tmp/all/results.txt >/dev/console
check "scenarios that passed" "$(grep -c '^pass' /tmp/all/results.txt)" 5
check_that "the archive has the results" eval "tar -tzf /tmp/all.tar.gz | grep -q all/results.txt"
