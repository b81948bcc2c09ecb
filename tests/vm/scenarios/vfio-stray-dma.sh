# about: a write to an address that was never mapped is refused by the IOMMU and reported by the kernel
# kernels: cloud-amd64 arm64-16k custom-amd64
# tool: yes
# sim: --fault stray-dma=36864:always
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# chip: stray_reached=0 stray_refused>=1
# memory: 512

card=$(card)
bind_vfio "$card"

# On a PC there is memory at that address, and it can be looked at.
pc=$(uname -m | grep -c x86 || true)
if [ "$pc" = 1 ]; then devmem 0x9000 32 0x600dcafe; fi
check_that "the chip boots all the same" hailoctl fw-load /firmware
if [ "$pc" = 1 ]; then check "the memory there" "$(devmem 0x9000 32)" 0x600DCAFE; fi
reports() { dmesg | grep -E 'DMAR:.*DMA Write.*fault addr 0x9000|page fault from EP [0-9]+ at 0x9000'; }
check_that "the kernel reports the address" reports
shows confined
