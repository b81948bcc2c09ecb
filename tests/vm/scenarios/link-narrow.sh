# about: in a slot with one slow lane link names the place and what goes through it
# tool: yes
# port: narrow
# sim: --profile default,speed=1,width=1
# memory: 512

card=$(card)
port=$(basename "$(dirname "$(readlink -f "$card")")")
check "link speed" "$(cat "$card/current_link_speed")" "2.5 GT/s PCIe"
check "link width" "$(cat "$card/current_link_width")" 1
said hailoctl link
check_said "$port"
check_said "x1"
said hailoctl doctor || true
