# about: behind a switch the card boots, and link names the switch as the narrowest place
# tool: yes
# port: switch
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# memory: 512

card=$(card)
up=$(basename "$(dirname "$(dirname "$(readlink -f "$card")")")")
check "class of the port two above" "$(cat "/sys/bus/pci/devices/$up/class")" 0x060400
said hailoctl link
check_said "narrowest  Gen 1 x1 (2.5 GT/s) between"
check_said "(switch, host side)"
check_said "all devices behind it share it"
bind_vfio "$card"
check_that "the chip boots" hailoctl fw-load /firmware
quiet "$card"
check "faults of the IOMMU" "$(dmesg | grep -c 'DMAR:.*fault addr')" 0
shows switch
