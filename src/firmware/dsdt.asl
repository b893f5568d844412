/*
 * What cannot be probed on this board, as ACPI describes it: PCI host bridge and interrupt routing, legacy devices behind LPC,
 * soft off. ACPI 3.0. What depends on the machine's options comes from names in the SSDT that acpi.c writes.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "SOFTVT", "SOFTVTPC", 1)
{
	External (\M64B, IntObj)	/* 64-bit PCI window: first and last byte, length */
	External (\M64E, IntObj)
	External (\M64L, IntObj)
	External (\HASC, IntObj)	/* bit 0 COM1, 1 COM2 */
	External (\HASK, IntObj)	/* i8042 */
	External (\HAST, IntObj)	/* HPET */

	Name (PICM, Zero)
	Method (_PIC, 1, NotSerialized) { Store (Arg0, PICM) }
	Name (\_S5, Package () {Zero, Zero, Zero, Zero})

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, Zero)
			Name (_BBN, Zero)

			/* The operating system may have native control of everything that is there. */
			Method (_OSC, 4, NotSerialized)
			{
				CreateDWordField (Arg3, 0, STS)
				If (LEqual (Arg0, ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766")))
				{
					CreateDWordField (Arg3, 8, CTL)
					And (CTL, 0x1D, CTL)	/* all but SHPC */
					If (LNotEqual (Arg1, One)) { Or (STS, 0x08, STS) }
				}
				Else { Or (STS, 0x04, STS) }
				Return (Arg3)
			}

			Name (CRES, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0xFF, 0, 0x100)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0x0CF7, 0, 0x0CF8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
					0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
					0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000)
			})
			Name (CR64, ResourceTemplate ()
			{
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
					0, 0x8000000000, 0x80FFFFFFFF, 0, 0x100000000,,, W64)
			})
			Method (_CRS, 0, Serialized)
			{
				If (LEqual (M64L, Zero)) { Return (CRES) }
				CreateQWordField (CR64, ^W64._MIN, WMIN)
				CreateQWordField (CR64, ^W64._MAX, WMAX)
				CreateQWordField (CR64, ^W64._LEN, WLEN)
				Store (M64B, WMIN)
				Store (M64E, WMAX)
				Store (M64L, WLEN)
				Return (ConcatenateResTemplate (CRES, CR64))
			}

/* Pins A to D of a slot: four links in PIC mode, four I/O APIC pins in APIC mode. */
#define LINKS(slot, a, b, c, d) \
	Package () {slot, 0, a, 0}, Package () {slot, 1, b, 0}, Package () {slot, 2, c, 0}, Package () {slot, 3, d, 0}
#define PINS(slot, a, b, c, d) \
	Package () {slot, 0, 0, a}, Package () {slot, 1, 0, b}, Package () {slot, 2, 0, c}, Package () {slot, 3, 0, d}
#define LINKS_E(slot) LINKS (slot, LNKE, LNKF, LNKG, LNKH)
#define LINKS_F(slot) LINKS (slot, LNKF, LNKG, LNKH, LNKE)
#define LINKS_G(slot) LINKS (slot, LNKG, LNKH, LNKE, LNKF)
#define LINKS_H(slot) LINKS (slot, LNKH, LNKE, LNKF, LNKG)
#define LINKS_A(slot) LINKS (slot, LNKA, LNKB, LNKC, LNKD)
#define PINS_E(slot) PINS (slot, 20, 21, 22, 23)
#define PINS_F(slot) PINS (slot, 21, 22, 23, 20)
#define PINS_G(slot) PINS (slot, 22, 23, 20, 21)
#define PINS_H(slot) PINS (slot, 23, 20, 21, 22)
#define PINS_A(slot) PINS (slot, 16, 17, 18, 19)
/* Slots 0 to 24 are rotated over E to H; 25 to 31, except 30, follow the DnnIR registers' reset value, A to D. */
#define ROUTES(E, F, G, H, A) \
	E (0x0000FFFF), F (0x0001FFFF), G (0x0002FFFF), H (0x0003FFFF), E (0x0004FFFF), F (0x0005FFFF), G (0x0006FFFF), \
	H (0x0007FFFF), E (0x0008FFFF), F (0x0009FFFF), G (0x000AFFFF), H (0x000BFFFF), E (0x000CFFFF), F (0x000DFFFF), \
	G (0x000EFFFF), H (0x000FFFFF), E (0x0010FFFF), F (0x0011FFFF), G (0x0012FFFF), H (0x0013FFFF), E (0x0014FFFF), \
	F (0x0015FFFF), G (0x0016FFFF), H (0x0017FFFF), E (0x0018FFFF), A (0x0019FFFF), A (0x001AFFFF), A (0x001BFFFF), \
	A (0x001CFFFF), A (0x001DFFFF), E (0x001EFFFF), A (0x001FFFFF)

			Name (RPIC, Package () {ROUTES (LINKS_E, LINKS_F, LINKS_G, LINKS_H, LINKS_A)})
			Name (RAPC, Package () {ROUTES (PINS_E, PINS_F, PINS_G, PINS_H, PINS_A)})
			Method (_PRT, 0, NotSerialized)
			{
				If (PICM) { Return (RAPC) }
				Return (RPIC)
			}

			Device (ISA)
			{
				Name (_ADR, 0x001F0000)
				OperationRegion (PIRQ, PCI_Config, 0x60, 0x0C)
				Field (PIRQ, ByteAcc, NoLock, Preserve)
				{
					PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8,
					Offset (8),
					PRQE, 8, PRQF, 8, PRQG, 8, PRQH, 8
				}

				Device (KBD)
				{
					Name (_HID, EisaId ("PNP0303"))
					Method (_STA, 0, NotSerialized) { If (HASK) { Return (0x0F) } Return (Zero) }
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x60, 0x60, 1, 1)
						IO (Decode16, 0x64, 0x64, 1, 1)
						IRQNoFlags () {1}
					})
				}
				Device (MOU)
				{
					Name (_HID, EisaId ("PNP0F13"))
					Method (_STA, 0, NotSerialized) { If (HASK) { Return (0x0F) } Return (Zero) }
					Name (_CRS, ResourceTemplate () {IRQNoFlags () {12}})
				}
				Device (COM1)
				{
					Name (_HID, EisaId ("PNP0501"))
					Name (_UID, One)
					Method (_STA, 0, NotSerialized) { If (And (HASC, 1)) { Return (0x0F) } Return (Zero) }
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x3F8, 0x3F8, 0, 8)
						IRQNoFlags () {4}
					})
				}
				Device (COM2)
				{
					Name (_HID, EisaId ("PNP0501"))
					Name (_UID, 2)
					Method (_STA, 0, NotSerialized) { If (And (HASC, 2)) { Return (0x0F) } Return (Zero) }
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x2F8, 0x2F8, 0, 8)
						IRQNoFlags () {3}
					})
				}
				Device (RTC)
				{
					Name (_HID, EisaId ("PNP0B00"))
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x70, 0x70, 1, 2)
						IRQNoFlags () {8}
					})
				}
			}
		}

		Device (HPET)
		{
			Name (_HID, EisaId ("PNP0103"))
			Name (_UID, Zero)
			Method (_STA, 0, NotSerialized) { If (HAST) { Return (0x0F) } Return (Zero) }
			Name (_CRS, ResourceTemplate () {Memory32Fixed (ReadOnly, 0xFED00000, 0x400)})
		}

		/* Addresses of the board that are nobody's BARs. */
		Device (MBRD)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xB0000000, 0x10000000)
				Memory32Fixed (ReadWrite, 0xFED1C000, 0x4000)
				IO (Decode16, 0x600, 0x600, 1, 0x80)
				IO (Decode16, 0xB2, 0xB2, 1, 2)
				IO (Decode16, 0x4D0, 0x4D0, 1, 2)
			})
		}

/* A PIRQ router entry: bit 7 set means off, bits 3:0 are the IRQ. */
#define LINK(name, uid, reg) \
	Device (name) \
	{ \
		Name (_HID, EisaId ("PNP0C0F")) \
		Name (_UID, uid) \
		Name (_PRS, ResourceTemplate () {IRQ (Level, ActiveLow, Shared) {5, 10, 11}}) \
		Method (_STA, 0, NotSerialized) { If (And (reg, 0x80)) { Return (0x09) } Return (0x0B) } \
		Method (_DIS, 0, NotSerialized) { Or (reg, 0x80, reg) } \
		Method (_CRS, 0, Serialized) \
		{ \
			Name (BUF0, ResourceTemplate () {IRQ (Level, ActiveLow, Shared) {5}}) \
			CreateWordField (BUF0, 1, MASK) \
			If (And (reg, 0x80)) { Store (Zero, MASK) } Else { Store (ShiftLeft (One, And (reg, 0x0F)), MASK) } \
			Return (BUF0) \
		} \
		Method (_SRS, 1, NotSerialized) \
		{ \
			CreateWordField (Arg0, 1, MASK) \
			FindSetRightBit (MASK, Local0) \
			If (Local0) { Store (Subtract (Local0, One), reg) } \
		} \
	}
		LINK (LNKA, 0, \_SB.PCI0.ISA.PRQA)
		LINK (LNKB, 1, \_SB.PCI0.ISA.PRQB)
		LINK (LNKC, 2, \_SB.PCI0.ISA.PRQC)
		LINK (LNKD, 3, \_SB.PCI0.ISA.PRQD)
		LINK (LNKE, 4, \_SB.PCI0.ISA.PRQE)
		LINK (LNKF, 5, \_SB.PCI0.ISA.PRQF)
		LINK (LNKG, 6, \_SB.PCI0.ISA.PRQG)
		LINK (LNKH, 7, \_SB.PCI0.ISA.PRQH)
	}
}
