# about: a cause that comes back two thousand times when it is acknowledged delays a boot, and no more
# kernels: cloud-amd64 custom-amd64
# tool: yes
# sim: --fault irq-storm=2000
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# chip: interrupts_raised>=2000
# memory: 512

card=$(card)
bind_vfio "$card"
check_that "the chip boots" hailoctl fw-load /firmware
quiet "$card"
shows storm
