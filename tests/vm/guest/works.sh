# What a booted chip is good for. Opening a card by VFIO resets it, so each command here boots it first.

# works: the chip's system answers, and a network runs; outputs are those of a chip without a bus between, byte by byte.
works() {
	local network=/repository/tests/golden/hef/v3_flow_yolov8.hef
	check_that "the chip's system says who it is" hailoctl identify --firmware "$FIRMWARE" --json
	check_said '"serial_number":'
	check_that "how it is" hailoctl monitor --once --firmware "$FIRMWARE"
	check_said "TS0"
	check_that "what it logs" hailoctl logs --firmware "$FIRMWARE"

	check_that "the same network in the guest's own memory" \
		hailoctl -d sim:default,loaded=5.2.0 run "$network" --frames 200 --output "$SCRATCH/expected" --raw-output
	check_that "frames by interrupt" \
		hailoctl run "$network" --frames 200 --output "$SCRATCH/irq" --raw-output --firmware "$FIRMWARE"
	check_that "frames by polling" \
		hailoctl run "$network" --frames 200 --output "$SCRATCH/poll" --raw-output --firmware "$FIRMWARE" --poll
	check "outputs" "$(cd "$SCRATCH/irq" && echo *.npy)" "$(cd "$SCRATCH/expected" && echo *.npy)"
	for output in "$SCRATCH"/expected/*.npy; do
		check_that "the card's $(basename "$output")" cmp "$output" "$SCRATCH/irq/$(basename "$output")"
		check_that "and by polling" cmp "$output" "$SCRATCH/poll/$(basename "$output")"
	done
	# Two networks at once are two connections: four of the sixteen pairs of channels move.
	check_that "two networks at once" hailoctl run "$network" /repository/tests/golden/hef/v3_multi_network.hef \
		--frames 50 --firmware "$FIRMWARE"
	check_that "the path of an interrupt, measured" hailoctl probe irq --rounds 100 --firmware "$FIRMWARE"
	check_that "bytes over sessions, measured" hailoctl probe session --rounds 20 --time 100 --firmware "$FIRMWARE"
	shows run
}
