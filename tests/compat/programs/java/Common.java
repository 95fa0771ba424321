// What the Java rows share: bytes of a number, reading exactly so many, and a check with a message.
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Random;

final class Common {
    private Common() {}

    static byte[] bytes(long number, int size) {
        byte[] made = new byte[size];
        new Random(number).nextBytes(made);
        return made;
    }

    static void check(boolean is, String what) {
        if (!is) {
            System.out.println("WRONG: " + what);
            System.exit(1);
        }
    }

    static ServerSocket listen(String host, int port) throws IOException {
        return new ServerSocket(port, 128, InetAddress.getByName(host));
    }

    static Thread start(Task task) {
        Thread thread = new Thread(() -> {
            try {
                task.run();
            } catch (Exception error) {
                System.out.println("WRONG: " + error);
                System.exit(1);
            }
        });
        thread.start();
        return thread;
    }

    // Says "held" after a byte went there and back, and then waits for the end.
    static void hold(String host, int port) throws IOException {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, port), 5000);
            OutputStream out = socket.getOutputStream();
            InputStream in = socket.getInputStream();
            out.write('x');
            check(in.read() == 'x', "the byte did not come back");
            System.out.println("held");
            while (in.read() >= 0) {}
        } catch (IOException error) {
            System.out.println(error);
        }
    }

    interface Task {
        void run() throws Exception;
    }
}
