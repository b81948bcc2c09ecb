# about: without interrupt remapping the kernel refuses, and hailoctl says which switch helps
# tool: yes
# machine: no-interrupt-remapping
# memory: 512

card=$(card)
bind_vfio "$card"

refused_with 4 hailoctl identify
check_said "allow_unsafe_interrupts"
echo Y >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
check_that "with the switch it opens" hailoctl identify
