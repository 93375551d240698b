"""What people run: the command line, the embedded Kafka, the Voxology emulator."""
