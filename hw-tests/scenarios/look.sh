# about: what can be seen of the card without opening it

said hailoctl scan --json
cp "$SCRATCH/said" "$out/scan.json"
check_that "scan lists the card" grep -q "$(basename "$(card)")" "$out/scan.json"
said hailoctl link --json
cp "$SCRATCH/said" "$out/link.json"
hailoctl link >"$CONSOLE"
hailoctl doctor >"$out/doctor.txt" || [ $? -lt 12 ] || fail "doctor ended with $?"
check_that "the report for an issue" hailoctl report "$out/report.tar"
