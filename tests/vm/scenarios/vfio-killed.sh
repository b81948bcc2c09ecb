# about: killed at 100 random moments of a boot (20 by device node), hailoctl leaves a quiet card that boots
# kernels: cloud-amd64 custom-amd64
# real: yes
# tool: yes
# sim: --fault stray-dma=36864:always
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# chip: stray_reached=0 stray_refused>=1
# memory: 512
# timeout: 900

. "$LAB/killed.sh"
card=$(card)
bind_vfio "$card"
# All along the software chip writes where it must not: to 0x9000, which is memory of the guest.
if [ -z "${CARD:-}" ]; then devmem 0x9000 32 0x600dcafe; fi
rounds=100
if [ -e /dev/iommu ]; then rounds=20; fi
killed "${KILLS:-$rounds}" "$card"
if [ -z "${CARD:-}" ]; then
	check "memory that the chip tried to write to" "$(devmem 0x9000 32)" 0x600DCAFE
	check "faults of the IOMMU elsewhere" "$(dmesg | grep 'DMAR:.*fault addr' | grep -vc 'fault addr 0x9000')" 0
else
	check "faults of the IOMMU" "$(iommu_faults)" "$FAULTS"
fi
