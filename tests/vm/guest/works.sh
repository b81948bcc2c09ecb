# What a booted chip is good for. Opening a card by VFIO resets it, so each command here boots it first.

# same_outputs SIM NETWORK: this network's outputs on the card are those of a chip without a bus between, byte by byte.
same_outputs() {
	rm -rf "$SCRATCH/expected" "$SCRATCH/irq" "$SCRATCH/poll"
	check_that "$(basename "$2") in the guest's own memory" \
		hailoctl -d "$1" run "$2" --frames 200 --output "$SCRATCH/expected" --raw-output
	check_that "on the card by interrupt" \
		hailoctl run "$2" --frames 200 --output "$SCRATCH/irq" --raw-output --firmware "$FIRMWARE"
	check_that "on the card by polling" \
		hailoctl run "$2" --frames 200 --output "$SCRATCH/poll" --raw-output --firmware "$FIRMWARE" --poll
	check "outputs" "$(cd "$SCRATCH/irq" && echo *.npy)" "$(cd "$SCRATCH/expected" && echo *.npy)"
	for output in "$SCRATCH"/expected/*.npy; do
		check_that "the card's $(basename "$output")" cmp "$output" "$SCRATCH/irq/$(basename "$output")"
		check_that "and by polling" cmp "$output" "$SCRATCH/poll/$(basename "$output")"
	done
}

# says_how_it_is: identity, state and log of the chip.
says_how_it_is() {
	check_that "the chip says who it is" hailoctl identify --firmware "$FIRMWARE" --json
	check_said '"serial_number":'
	check_that "how it is" hailoctl monitor --once --firmware "$FIRMWARE"
	check_said "TS0"
	check_that "what it logs" hailoctl logs --firmware "$FIRMWARE"
}

# works: in SoC mode.
works() {
	local network=/repository/tests/golden/hef/v3_flow_yolov8.hef
	says_how_it_is
	same_outputs sim:default,loaded=5.2.0 "$network"
	# Two networks at once are two connections: four of the sixteen pairs of channels move.
	check_that "two networks at once" hailoctl run "$network" /repository/tests/golden/hef/v3_multi_network.hef \
		--frames 50 --firmware "$FIRMWARE"
	check_that "the path of an interrupt, measured" hailoctl probe irq --rounds 100 --firmware "$FIRMWARE"
	check_that "bytes over sessions, measured" hailoctl probe session --rounds 20 --time 100 --firmware "$FIRMWARE"
	shows run
}

# works_by_contexts: in NNC mode, where the host switches the contexts.
works_by_contexts() {
	local network
	says_how_it_is
	for network in v3_flow_yolov8 v3_multi_context; do
		same_outputs sim:default,mode=nnc,loaded=5.2.0 "/repository/tests/golden/hef/$network.hef"
	done
	check_that "two networks in turns" hailoctl run /repository/tests/golden/hef/v3_flow_yolov8.hef \
		/repository/tests/golden/hef/v3_multi_context.hef --frames 50 --firmware "$FIRMWARE"
	shows contexts
}
