# about: sessions, RPC and networks through vfio-pci and the IOMMU: outputs as from the chip alone
# kernels: cloud-amd64 arm64-16k custom-amd64
# tool: yes
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# files: tests/golden/hef/v3_flow_yolov8.hef tests/golden/hef/v3_multi_network.hef
# memory: 768

. "$LAB/works.sh"
card=$(card)
bind_vfio "$card"
works
check "faults of the IOMMU" "$(iommu_faults)" "$FAULTS"
quiet "$card"
